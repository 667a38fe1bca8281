"""PnG over heads: a requirement has the head of its scale and no other, and owns it from its first weights on."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from mirl import networks
from mirl.config import UserError
from mirl.methods.dense import Dense, DenseArm
from mirl.methods.plan import Parent, Plan, copied
from mirl.methods.png import Png, PngArm
from mirl.networks import NetworkSection, scale_of, widening
from mirl.objectives import Reconstruction, ReconstructionByTask
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.tickets.routing import ByTask

SECTION = NetworkSection(name="edsr", options={"width": 8, "blocks": 1, "scales": [2, 3, 4]}, seed=3)
UP = {2: "heads.x2.steps.0", 3: "heads.x3.steps.0", 4: "heads.x4.steps.1"}


def initialise(seed: int) -> State:
    assert seed == SECTION.seed
    return copied(networks.build(SECTION).state_dict())


def untrained() -> Parent:
    state = initialise(SECTION.seed)
    masks = Masks.one(Mask.full(networks.prunable(networks.build(SECTION), False)))
    return Parent(network=SECTION, state=state, masks=masks, origin=copied(state), origin_step=0)


def method(scale: int, *others: str, **values: Any) -> Png:
    tasks = (f"x{scale}", *others)
    return Png(PngArm.read({"method": "png"} | values, "arm")).serving(tasks, (scale,) * len(tasks))


def trained(planner: Png, plan: Plan, seed: int) -> Parent:
    """What is believed after a training that moved all that has a part in it and may move."""
    draw = torch.Generator().manual_seed(seed)
    moved = {}
    for name, tensor in plan.state.items():
        still = plan.frozen.get(name, torch.zeros_like(tensor, dtype=torch.bool))
        if scale_of(name) in {None, planner.scale}:
            tensor = torch.where(still, tensor, tensor + torch.randn(tensor.shape, generator=draw))
        moved[name] = tensor
    moved = plan.mask.apply(moved)
    return planner.absorb(plan, moved, plan.origin or moved, plan.start_step)


def after(parent: Parent, *scales: int, **values: Any) -> Parent:
    """Two rounds for each: grown, then pruned."""
    for scale in scales:
        for half in (0, 1):
            planner = method(scale, **values)
            parent = trained(planner, planner.plan(parent, initialise), 2 * scale + half)
    return parent


def test_the_first_requirement_has_the_body_and_its_head() -> None:
    plan = method(3, "x3_set5").plan(untrained(), initialise)
    assert plan.heads == {"x3-x3_set5": 3} and plan.objective == Reconstruction("x3-x3_set5")
    for name, keep in plan.mask.items():
        works = scale_of(name) in {None, 3}
        assert bool(keep.all()) == bool(keep.any()) == works, name
        assert works or not plan.state[name].any()
    assert not plan.frozen and plan.origin is None
    assert isinstance(plan.routing, ByTask) and plan.routing.tasks == dict.fromkeys(
        ("x3", "x3_set5"), "x3-x3_set5"
    )


def test_a_head_that_is_new_begins_at_its_first_weights_and_is_the_requirements_own() -> None:
    first = after(untrained(), 2, goal=0.3)
    for start in ("origin", "zero"):
        plan = method(3, goal=0.3, start=start).plan(first, initialise)
        begun, layer = initialise(3), f"{UP[3]}.weight"
        assert plan.heads == {"x2": 2, "x3": 3} and plan.origin is not None
        assert torch.equal(plan.state[layer], begun[layer]) and torch.equal(plan.origin[layer], begun[layer])
        assert not plan.masks["x3"][f"{UP[2]}.weight"].any() and plan.masks["x3"][layer].all()
        assert not plan.frozen[layer].any() and not plan.frozen[f"{UP[3]}.bias"].any()
        assert plan.frozen[f"{UP[2]}.bias"].all() and plan.frozen["stem.bias"].all()
        assert plan.frozen[f"{UP[4]}.bias"].all()  # of which nothing is trained yet
        where = ~plan.mask[f"{UP[2]}.weight"]
        assert where.any() and not plan.state[f"{UP[2]}.weight"][where].any()


def test_a_pruned_requirement_keeps_its_share_of_body_and_head_and_leaves_the_rest() -> None:
    last = after(untrained(), 2, 3, 4, goal=0.3)
    assert last.heads == {"x2": 2, "x3": 3, "x4": 4}
    for scale in (2, 3, 4):
        mask, owned = last.masks[f"x{scale}"], last.masks.own(f"x{scale}")
        for name, keep in mask.items():
            assert bool(keep.any()) == (scale_of(name) in {None, scale}), name
        share = owned[f"{UP[scale]}.weight"].float().mean()
        assert 0.2 < share <= 0.32
    body = "body.0.first.weight"
    kept = [int(last.masks[mask][body].sum()) for mask in last.masks]
    assert kept == sorted(kept) and kept[0] < kept[-1] < last.mask[body].numel()


def test_earlier_requirements_come_out_bit_identical_with_the_biases_of_their_heads() -> None:
    first = after(untrained(), 2)
    second, last = after(first, 3), after(first, 3, 4)
    image_BCHW = torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(5))
    for mask, before in (("x2", first), ("x2", second), ("x3", second)):
        one, other = before.alone(mask), last.alone(mask)
        assert one.state.keys() == other.state.keys() and f"{UP[int(mask[1])]}.bias" in one.state
        for name, tensor in one.state.items():
            assert tensor.numpy().tobytes() == other.state[name].numpy().tobytes(), (mask, name)
        assert torch.equal(one.built()(image_BCHW), other.built()(image_BCHW))
    assert last.alone("x4").built()(image_BCHW).shape == (1, 3, 32, 36)


def test_a_second_requirement_of_a_scale_shares_the_head_and_its_biases() -> None:
    first = after(untrained(), 2, 3)
    planner = Png(PngArm(method="png")).serving(("x2_noisy",), (2,))
    plan = planner.plan(first, initialise)
    layer = f"{UP[2]}.weight"
    assert plan.heads["x2_noisy"] == 2 and plan.frozen[f"{UP[2]}.bias"].all()
    assert torch.equal(plan.frozen[layer], first.masks["x2"][layer])
    assert torch.equal(plan.state[layer][plan.frozen[layer]], first.state[layer][plan.frozen[layer]])


def test_a_head_that_the_network_lacks_is_added_for_the_requirement() -> None:
    small = SECTION.model_copy(update={"options": {**SECTION.options, "scales": [2, 3]}})
    state = copied(networks.build(small).state_dict())
    masks = Masks.one(Mask.full(networks.prunable(networks.build(small), False)))
    root = Parent(network=small, state=state, masks=masks, origin=copied(state), origin_step=0)
    planned, added = (method(4).plan(after(each, 2), initialise) for each in (untrained(), root))
    assert added.network == SECTION and added.heads == planned.heads == {"x2": 2, "x4": 4}
    assert added.masks["x4"] == planned.masks["x4"] and added.state.keys() == planned.state.keys()
    for name in (name for name in added.state if scale_of(name) == 4):
        assert torch.equal(added.state[name], planned.state[name]), name
        assert not added.frozen[name].any() and not planned.frozen[name].any()
    with pytest.raises(
        UserError, match="no head for x4; name 4 in its option `scales`, or grow a requirement of"
    ):
        method(4).plan(root, initialise)


def test_picks_are_of_the_body_alone_where_the_head_is_new() -> None:
    first = after(untrained(), 2, goal=0.3)
    planner = method(3, goal=0.3, pick="learned")
    plan = planner.plan(first, initialise)
    grown = trained(planner, plan, 7)
    assert not grown.masks["x3"][f"{UP[2]}.weight"].any() and grown.masks["x3"][f"{UP[3]}.weight"].all()
    assert grown.heads == {"x2": 2, "x3": 3} and grown.network == SECTION
    cut = planner.plan(grown, initialise)
    assert cut.masks["x2"] == first.masks["x2"] and 0 < cut.masks["x3"].kept < grown.masks["x3"].kept


def test_a_joint_network_is_a_sub_network_for_each_scale() -> None:
    tasks = ("x2", "x4", "x2_set5")
    plan = Dense(DenseArm(method="dense")).serving(tasks, (2, 4, 2)).plan(untrained(), initialise)
    assert plan.heads == {"x2-x2_set5": 2, "x4": 4}
    names = {"x2": "x2-x2_set5", "x4": "x4", "x2_set5": "x2-x2_set5"}
    assert isinstance(plan.routing, ByTask) and plan.routing.tasks == names
    assert plan.objective == ReconstructionByTask(names)
    assert plan.objective.passes(list(plan.masks)) == {"x2-x2_set5": 2, "x4": 1}
    assert not plan.mask[f"{UP[3]}.weight"].any() and plan.masks["x4"]["stem.weight"].all()
    one = Dense(DenseArm(method="dense")).serving(("x2", "x2_set5"), (2, 2)).plan(untrained(), initialise)
    assert one.objective == Reconstruction("x2-x2_set5") and list(one.masks) == ["x2-x2_set5"]


def test_what_has_no_one_scale_is_refused() -> None:
    with pytest.raises(
        UserError,
        match="for one requirement, but its tasks enlarge by 2, 3; give each scale rounds of its own",
    ):
        Png(PngArm(method="png")).serving(("x3", "x2"), (3, 2))
    parent = after(untrained(), 2)
    bare = {
        name: keep & (scale_of(name) is None) for name, keep in parent.masks["x2"].items()
    }  # nothing of a head
    with pytest.raises(UserError, match="keeps nothing of the heads for x2, x3, x4"):
        replace(parent, masks=Masks({"x2": Mask(bare)}))
    grown = method(3).plan(parent, initialise)
    with pytest.raises(
        ValueError, match=r"static has one mask to choose|chooses among sub-networks that enlarge by"
    ):
        replace(grown, routing=untrained().routing)


def test_a_body_can_be_widened_for_another_scale() -> None:
    planner = method(2)
    first = trained(planner, planner.plan(untrained(), initialise), 1)
    planner = method(3, widen=1.5, widen_below=0.9, goal=0.3)
    plan = planner.plan(first, initialise)
    assert plan.network.options["width"] == 12 and plan.network.narrower == {"x2": SECTION.options}
    where = widening.corners(plan.network, "x2")
    for name, frozen in plan.frozen.items():
        corner = widening.inside(frozen, where[name]) if scale_of(name) != 3 else torch.zeros_like(frozen)
        if name not in plan.mask or scale_of(name) is None:
            assert torch.equal(frozen, corner), name
    assert bool(plan.state["heads.x3.steps.0.weight"].any())
    last = trained(planner, planner.plan(trained(planner, plan, 2), initialise), 3)
    before, now = first.alone("x2"), last.alone("x2")
    assert now.network == before.network and now.masks == before.masks
    assert all(torch.equal(now.state[name], tensor) for name, tensor in before.state.items())
    assert last.alone("x3").network.options == {"width": 12, "blocks": 1, "scales": [3]}
    assert [model.network.narrower for model in last.by_head()] == [{}, {}]
