"""PnG: what each requirement trains, what is frozen, and what is left free."""

from typing import Any

import pytest
import torch

from mirl import networks
from mirl.config import UserError, non_default_values
from mirl.methods import remembered
from mirl.methods.plan import Parent, Plan, copied
from mirl.methods.png import Png, PngArm
from mirl.networks import NetworkSection
from mirl.objectives import Reconstruction
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.sparsity.structure import Blocks
from mirl.tickets.routing import ByTask

SECTION = NetworkSection(
    name="nafnet", options={"width": 16, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 1}
)
FIRST, SECOND, THIRD = ("denoise_15",), ("denoise_25",), ("derain", "dehaze")


def no_other_state(seed: int) -> State:
    raise AssertionError("the method asks for no other initialisation")


def method(tasks: tuple[str, ...], **values: Any) -> Png:
    return Png(PngArm.read({"method": "png"} | values, "arm")).serving(tasks)


def untrained() -> Parent:
    network = networks.build(SECTION)
    state = copied(network.state_dict())
    mask = Mask.full(networks.prunable(network, False))
    return Parent(network=SECTION, state=state, masks=Masks.one(mask), origin=copied(state), origin_step=0)


def trained(planner: Png, plan: Plan, seed: int) -> Parent:
    """What is believed after a training that moved everything that it may move."""
    draw = torch.Generator().manual_seed(seed)
    state = {
        name: torch.where(
            plan.frozen.get(name, torch.zeros_like(tensor, dtype=torch.bool)),
            tensor,
            tensor + torch.randn(tensor.shape, generator=draw),
        )
        for name, tensor in plan.state.items()
    }
    origin = plan.origin or plan.state
    return planner.absorb(plan, plan.mask.apply(state), origin, plan.start_step)


def after(parent: Parent, *requirements: tuple[str, ...], **values: Any) -> Parent:
    """Two rounds for each requirement: grown, then pruned."""
    for number, tasks in enumerate(requirements):
        planner = method(tasks, **values)
        for half in (0, 1):
            parent = trained(planner, planner.plan(parent, no_other_state), 2 * number + half)
    return parent


def test_the_first_requirement_trains_the_whole_network_from_its_first_weights() -> None:
    parent = untrained()
    plan = method(FIRST).plan(parent, no_other_state)
    assert list(plan.masks) == ["denoise_15"] and plan.mask == parent.mask and not plan.frozen
    assert plan.start_step == 0 and plan.origin is None and not plan.samples.new
    assert plan.samples.tasks == FIRST and plan.objective == Reconstruction("denoise_15")
    assert all(torch.equal(plan.state[name], tensor) for name, tensor in parent.state.items())


@pytest.mark.parametrize(
    ("outputs", "inputs"), [(4, 4), (8, 8), (16, 1), ("all", 1)], ids=lambda size: str(size)
)
def test_then_it_is_pruned_to_its_goal_in_whole_blocks(outputs: Any, inputs: int) -> None:
    structure = {"kind": "blocks", "outputs": outputs, "inputs": inputs, "least": 0}
    planner = method(FIRST, goal=0.5, structure=structure)
    grown = trained(planner, planner.plan(untrained(), no_other_state), 1)
    plan = planner.plan(grown, no_other_state)
    assert not plan.frozen and list(plan.masks) == ["denoise_15"] and plan.samples.new
    assert 0.4 < plan.mask.density <= 0.5
    outputs = 64 if outputs == "all" else outputs
    keep = plan.mask["middle.0.feed_in.weight"].flatten(1)  # 64 x 32
    blocks = keep.view(64 // outputs, outputs, 32 // inputs, inputs).sum((1, 3))
    assert set(blocks.flatten().tolist()) == {0, outputs * inputs}
    assert all(torch.equal(plan.state[n], plan.mask.apply(grown.state)[n]) for n in plan.state)


def test_a_later_requirement_trains_what_is_free_and_freezes_all_else() -> None:
    first = after(untrained(), FIRST, goal=0.3)
    planner = method(SECOND, goal=0.3)
    plan = planner.plan(first, no_other_state)
    assert list(plan.masks) == ["denoise_15", "denoise_25"] and plan.mask.density == 1 and plan.masks.nested
    assert plan.masks["denoise_15"] == first.mask
    assert plan.frozen.keys() == plan.state.keys()
    for name, where in plan.frozen.items():
        assert torch.equal(where, first.mask[name]) if name in first.mask else bool(where.all()), name
        wanted = torch.where(where, first.state[name], first.origin[name])
        assert torch.equal(plan.state[name], wanted), name
    assert isinstance(plan.routing, ByTask)
    assert plan.routing.tasks == {"denoise_15": "denoise_15", "denoise_25": "denoise_25"}
    assert plan.samples.tasks == SECOND and plan.samples.new

    grown = trained(planner, plan, 3)
    cut = planner.plan(grown, no_other_state)
    own = cut.masks["denoise_25"].kept - first.mask.kept
    free = first.mask.total - first.mask.kept
    assert 0.2 < own / free <= 0.3 and cut.masks.nested
    assert cut.masks["denoise_15"] == first.mask and cut.frozen.keys() == cut.state.keys()


def test_free_weights_can_begin_at_zero() -> None:
    first = after(untrained(), FIRST)
    plan = method(SECOND, start="zero").plan(first, no_other_state)
    assert all(torch.equal(plan.state[name], tensor) for name, tensor in first.state.items())


def test_earlier_requirements_come_out_bit_identical() -> None:
    first = after(untrained(), FIRST)
    first.state["head.weight"][first.mask["head.weight"]] *= -0.0  # a sign of zero is a bit, too
    last = after(first, SECOND, THIRD)
    assert list(last.masks) == ["denoise_15", "denoise_25", "derain-dehaze"]
    alone, before = last.alone("denoise_15"), first.alone("denoise_15")
    for name, tensor in before.state.items():
        same = tensor.numpy().tobytes() == alone.state[name].numpy().tobytes()
        assert same, name
    image_BCHW = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    assert torch.equal(alone.built()(image_BCHW), before.built()(image_BCHW))
    others = [last.alone(mask).built()(image_BCHW) for mask in ("denoise_25", "derain-dehaze")]
    assert not any(torch.equal(other, before.built()(image_BCHW)) for other in others)
    assert isinstance(last.routing, ByTask) and last.routing.tasks["dehaze"] == "derain-dehaze"


def test_a_network_trained_for_one_task_is_the_grown_first_requirement() -> None:
    planner = method(FIRST)
    single = planner.plan(untrained(), no_other_state)  # as a dense round with the requirement plans it
    plan = planner.plan(trained(planner, single, 1), no_other_state)
    assert plan.mask.density < 0.21 and list(plan.masks) == ["denoise_15"]


@pytest.mark.parametrize("again", [FIRST, SECOND, ("denoise_50", "denoise_15")])
def test_the_same_requirement_twice_is_refused(again: tuple[str, ...]) -> None:
    parent = after(untrained(), FIRST, SECOND)
    with pytest.raises(
        UserError, match=r"the requirement denoise_\d\d comes twice: .*; leave out this round"
    ):
        method(again).plan(parent, no_other_state)


def test_where_no_capacity_is_left_it_says_so() -> None:
    planner = method(FIRST)
    grown = trained(planner, planner.plan(untrained(), no_other_state), 1)
    with pytest.raises(
        UserError,
        match=r"no capacity is left for denoise_25: denoise_15 own all \d+ weights; put a round that prunes denoise_15",
    ):
        method(SECOND).plan(grown, no_other_state)


def test_what_does_not_come_after_a_whole_network_is_refused() -> None:
    parent = untrained()
    half = Mask({name: torch.rand(keep.shape) < 0.5 for name, keep in parent.mask.items()})
    pruned = Parent(
        network=SECTION, state=half.apply(parent.state), masks=Masks.one(half), origin=parent.origin, origin_step=0
    )  # fmt: skip
    with pytest.raises(
        UserError, match="the first requirement comes after a ticket that keeps .*after `init`"
    ):
        method(FIRST).plan(pruned, no_other_state)
    with pytest.raises(UserError, match="a png round is for one requirement, so name its `task`"):
        method(())
    with pytest.raises(UserError, match="do not hold one block of 64 outputs and 64 inputs"):
        after(
            untrained(),
            FIRST,
            goal=0.001,
            structure={"kind": "blocks", "outputs": 64, "inputs": 64, "least": 0},
        )


def test_of_blocks_one_is_kept_in_every_layer_unless_it_is_said_otherwise() -> None:
    for given, least in (({}, 1), ({"outputs": 8}, 1), ({"least": 0}, 0), ({"least": 3}, 3)):
        arm = PngArm.read({"method": "png", "structure": {"kind": "blocks", **given}}, "arm")
        assert isinstance(arm.structure, Blocks) and arm.structure.least == least
        assert remembered(non_default_values(arm) | {"method": "png"}) == arm


def test_no_layer_is_lost_to_blocks_that_are_large_for_it_and_some_stay_whole() -> None:
    first = after(untrained(), FIRST, goal=0.1)
    assert min(first.mask.layer_kept().values()) > 0
    kept_whole = after(untrained(), FIRST, SECOND, goal=0.1, whole=["head.", "tail."])
    for name, keep in kept_whole.masks["denoise_15"].items():
        assert bool(keep.all()) == name.startswith(("head.", "tail.")), name
    with pytest.raises(UserError, match="no layer is left to prune: `whole` names them all; name fewer"):
        after(untrained(), FIRST, whole=[""])


def test_picks_are_learned_while_a_later_requirement_grows_and_stay() -> None:
    first = after(untrained(), FIRST, goal=0.3)
    planner = method(SECOND, goal=0.3, pick="learned")
    plan = planner.plan(first, no_other_state)
    scores = [name for name in plan.state if name.startswith("picks.")]
    assert len(scores) == len(plan.mask) and plan.network.picks is not None and plan.rates == {"picks.": 0.02}
    assert plan.state["picks.middle/0/feed_in/weight"].shape == (16, 8)  # of 64 x 32 in blocks of 4 x 4
    assert not any(name in plan.frozen for name in scores)
    networks.build(plan.network).load_state_dict(plan.state)

    weights = dict(plan.state)
    weights["picks.middle/0/feed_in/weight"] = torch.zeros(16, 8)
    weights["picks.middle/0/feed_in/weight"][:8] = 1
    assert plan.origin is not None
    grown = planner.absorb(plan, weights, plan.origin, 0)
    layer = "middle.0.feed_in.weight"
    assert grown.network == SECTION and grown.state.keys() == grown.origin.keys() == first.state.keys()
    uses, was = grown.masks["denoise_25"][layer], first.mask[layer]
    assert uses[:32].all() and torch.equal(uses[32:], ~was[32:]) and not grown.masks.nested

    cut = planner.plan(grown, no_other_state)
    assert torch.equal(cut.masks["denoise_25"][layer] & was, uses & was) and cut.network == SECTION
    assert cut.mask == cut.masks.union and cut.masks["denoise_15"] == first.mask
    assert all(torch.equal(cut.state[n][k], first.state[n][k]) for n, k in first.mask.items())


def test_what_is_no_block_is_not_picked() -> None:
    with pytest.raises(
        UserError, match="`pick` is learned, but the structure is unstructured, expected blocks"
    ):
        method(SECOND, pick="learned", structure={"kind": "unstructured"})
