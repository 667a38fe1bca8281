"""PnG in a network that is widened: what is new is trained, and the earlier ones stay in their corner."""

import math

import pytest
import torch

from mirl import networks
from mirl.config import UserError
from mirl.methods.plan import Parent, copied
from mirl.networks import NetworkSection, widening
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets.model import SparseModel
from tests.conftest import TINY
from tests.methods.test_png import (
    FIRST,
    SECOND,
    SECTION,
    THIRD,
    after,
    method,
    no_other_state,
    trained,
    untrained,
)

WIDE = {"width": 24}


def grown() -> Parent:
    """The first requirement, which owns everything."""
    planner = method(FIRST)
    return trained(planner, planner.plan(untrained(), no_other_state), 1)


def same(one: SparseModel, other: SparseModel) -> bool:
    """Whether two models are the same, to the last bit."""
    return (
        one.network == other.network
        and one.masks == other.masks
        and list(one.state) == list(other.state)
        and all(
            tensor.numpy().tobytes() == other.state[name].numpy().tobytes()
            for name, tensor in one.state.items()
        )
    )


def test_where_nothing_is_free_the_network_is_widened_and_what_is_new_begins_as_it_would() -> None:
    first = grown()
    planner = method(SECOND, widen=1.5)
    plan = planner.plan(first, no_other_state)
    assert plan.network.options == SECTION.options | WIDE
    assert plan.network.narrower == {"denoise_15": SECTION.options}
    fresh = networks.build(plan.network).state_dict()
    where = widening.corners(plan.network, "denoise_15")
    for name, tensor in plan.state.items():
        corner = widening.inside(tensor, where[name])
        assert torch.equal(plan.frozen[name], corner), name
        assert torch.equal(tensor[where[name]], first.state[name]), name
        assert torch.equal(tensor[~corner], fresh[name][~corner]), name
    assert plan.masks["denoise_25"].density == 1 and plan.mask.total > 2 * first.mask.total
    assert plan.masks["denoise_15"].kept == first.mask.kept
    assert same(plan.alone("denoise_15"), first.alone("denoise_15"))
    networks.build(plan.network).load_state_dict(plan.state)


def test_earlier_requirements_come_out_bit_identical_whatever_is_widened_later() -> None:
    first = grown()
    kept = {"denoise_15": first.alone("denoise_15")}
    last = first
    for number, tasks in enumerate((SECOND, THIRD, ("jpeg",))):
        # The third requirement finds enough, and the fourth, for which half is too little, does not.
        planner = method(tasks, widen=1.5, widen_below=0.9 if tasks == ("jpeg",) else 0.1, goal=0.3)
        for half in (0, 1):
            last = trained(planner, planner.plan(last, no_other_state), 10 * number + half)
        kept["-".join(tasks)] = last.alone("-".join(tasks))
    widths = {name: model.network.options["width"] for name, model in kept.items()}
    assert widths == {"denoise_15": 16, "denoise_25": 24, "derain-dehaze": 24, "jpeg": 36}
    assert last.network.narrower.keys() == set(kept) - {"jpeg"}
    image_BCHW = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    for name, model in kept.items():
        found = last.alone(name)
        assert same(found, model), name
        assert torch.equal(found.built()(image_BCHW), model.built()(image_BCHW))


def test_biases_and_norms_belong_to_the_first_that_has_them() -> None:
    wide = after(grown(), SECOND, widen=1.5, goal=0.3)
    plan = method(THIRD, widen=1.5).plan(wide, no_other_state)
    assert plan.network == wide.network
    biases = [name for name in plan.state if name not in plan.mask]
    assert biases and all(bool(plan.frozen[name].all()) for name in biases)


def test_how_little_is_too_little_is_said_by_the_arm() -> None:
    first = after(untrained(), FIRST, goal=0.3)
    share = 1 - first.mask.density
    for below, widens in ((share - 0.01, False), (share + 0.01, True)):
        plan = method(SECOND, widen=1.5, widen_below=below).plan(first, no_other_state)
        assert (plan.network != first.network) == widens
    full = grown()
    with pytest.raises(UserError, match="no capacity is left for denoise_25: .* or let it `widen`"):
        method(SECOND).plan(full, no_other_state)


def test_picks_are_learned_in_a_wider_network_too() -> None:
    first = after(untrained(), FIRST, goal=0.3)
    planner = method(SECOND, widen=1.5, widen_below=0.9, goal=0.3, pick="learned")
    plan = planner.plan(first, no_other_state)
    assert plan.state["picks.middle/0/feed_in/weight"].shape == (24, 12)  # of 96 x 48 in blocks of 4 x 4
    cut = planner.plan(trained(planner, plan, 1), no_other_state)
    assert cut.network.options == SECTION.options | WIDE and cut.network.picks is None
    assert same(cut.alone("denoise_15"), first.alone("denoise_15"))


def test_a_network_that_cannot_be_widened_is_refused() -> None:
    section = NetworkSection(name="restormer", options=TINY["restormer"])
    state = copied(networks.build(section).state_dict())
    mask = Mask.full(networks.prunable(networks.build(section), False))
    parent = Parent(network=section, state=state, masks=Masks.one(mask), origin=copied(state), origin_step=0)
    planner = method(FIRST)
    whole = trained(planner, planner.plan(parent, no_other_state), 1)
    with pytest.raises(UserError, match="the network restormer cannot be widened, .*; leave out `widen`"):
        method(SECOND, widen=1.5).plan(whole, no_other_state)


def test_a_forecast_widens_the_part_of_each_layer_that_stands_for_it() -> None:
    """A share of the outputs of each weight, and no biases: what is free is the same share."""
    first = grown()
    share = {
        name: tensor[: math.ceil(len(tensor) * 0.3)]
        for name, tensor in first.state.items()
        if name in first.mask
    }
    part = Parent(
        network=first.network, state=share, masks=Masks({"denoise_15": Mask.full(share)}),
        routing=first.routing, origin=share, origin_step=0,
    )  # fmt: skip
    planner = method(SECOND, widen=1.5)
    plans = [planner.plan(parent, no_other_state) for parent in (first, part)]
    owned = [plan.masks["denoise_15"].density for plan in plans]
    assert owned[0] == pytest.approx(owned[1], abs=0.02) and plans[0].network == plans[1].network
