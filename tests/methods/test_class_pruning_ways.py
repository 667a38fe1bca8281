"""Ways to train nested sub-networks: masks made anew, second moments held, one sub-network after the other."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from mirl.config import UserError
from mirl.methods.plan import Parent
from mirl.objectives import Levels, Reconstruction
from mirl.tickets.routing import ByWork, Static
from tests.methods.test_class_pruning import _draw, method, no_other_state, parent


def test_sr_ste_makes_the_masks_anew_from_the_weights_and_keeps_all_of_them() -> None:
    planner, before = method(masks="sr_ste", hold_moments=0.3), parent(0.8)
    plan = planner.plan(before, no_other_state)
    fixed = method().plan(before, no_other_state)
    assert plan.masks == fixed.masks and plan.mask == before.mask and plan.remask is not None
    assert plan.objective == Levels(("easy", "medium", "hard"), 2e-4) and fixed.remask is None
    assert (plan.hold_moments, fixed.hold_moments) == (0.3, 1.0)
    draw = torch.Generator().manual_seed(3)
    trained = plan.mask.apply(
        {name: torch.randn(tensor.shape, generator=draw) for name, tensor in plan.state.items()}
    )
    assert plan.origin is not None
    found = planner.absorb(plan, trained, plan.origin, 0)
    expected = method().plan(replace(before, state=trained), no_other_state).masks
    assert found.masks == expected != plan.masks and found.masks.nested
    assert found.mask == plan.mask and all(torch.equal(found.state[name], trained[name]) for name in trained)


def one_by_one(before: Parent, rounds: int, **values: Any) -> list[Parent]:
    """Beliefs after rounds that train what is not frozen to other values."""
    planner = method(training="smallest_first", **values)
    found = [before]
    for number in range(rounds):
        plan = planner.plan(found[-1], no_other_state)
        draw = torch.Generator().manual_seed(number)
        state = plan.mask.apply(
            {name: torch.randn(tensor.shape, generator=draw) for name, tensor in plan.state.items()}
        )
        for name, where in plan.frozen.items():
            state[name] = torch.where(where, plan.state[name], state[name])
        assert plan.origin is not None
        found.append(planner.calibrate(planner.absorb(plan, state, plan.origin, 0), _draw, found[-1]))
    return found


@pytest.mark.parametrize("density", [1.0, 0.6])
def test_smallest_first_trains_one_sub_network_a_round_and_leaves_the_smaller_ones(density: float) -> None:
    before, easy, medium, hard = one_by_one(parent(density), 3)
    joint = method().plan(before, no_other_state).masks
    assert [list(each.masks) for each in (easy, medium, hard)] == [
        ["easy"], ["easy", "medium"], ["easy", "medium", "hard"],
    ]  # fmt: skip
    assert hard.masks == joint and isinstance(easy.routing, Static) and isinstance(medium.routing, ByWork)
    for smaller, larger in pairwise((easy, medium, hard)):
        last = list(smaller.masks)[-1]
        alone = larger.alone(last).state
        assert all(torch.equal(alone[name], tensor) for name, tensor in smaller.alone(last).state.items())
        own = larger.masks.own(list(larger.masks)[-1])
        assert all(bool(larger.state[name][keep].ne(0).all()) for name, keep in own.items())
    # what is trained later begins as the ticket had it that the levels were cut from
    plan = method(training="smallest_first").plan(easy, no_other_state)
    for name, keep in plan.masks.own("medium").items():
        assert torch.equal(plan.state[name][keep], before.state[name][keep])
    assert plan.objective == Reconstruction("medium") and plan.objective.passes(list(plan.masks)) == {
        "medium": 3
    }
    assert plan.frozen.keys() == plan.state.keys()
    router = method(training="smallest_first").plan(hard, no_other_state)
    assert router.network.router is not None


def test_a_sub_network_after_those_of_another_arm_is_refused() -> None:
    _, easy, medium = one_by_one(parent(), 2)
    other = method(training="smallest_first", levels={"easy": 0.125, "medium": 0.5, "hard": 1.0})
    for before in (easy, medium):
        with pytest.raises(
            UserError, match="easy.* of the ticket are not those that this arm cuts; use the arm"
        ):
            other.plan(before, no_other_state)
    with pytest.raises(UserError, match="with the sub-networks easy, medium, expected one, or a, b"):
        method(training="smallest_first", levels={"a": 0.5, "b": 1.0}).plan(medium, no_other_state)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"masks": "sr_ste", "levels": {"a": 0.25, "b": 0.5}},
            "the largest of the levels, b, keeps 0.5 of the weights, but .* must keep all of them",
        ),
        (
            {"masks": "sr_ste", "router": {"channels": 4, "train": "along"}},
            "makes masks anew in a round without a router, so its `train` must be `after`",
        ),
        ({"masks": "sr_ste", "training": "smallest_first"}, "which goes with `masks: fixed` and"),
        (
            {"training": "smallest_first", "router": {"channels": 4, "train": "along"}},
            "and the router's `train: after` only",
        ),
        ({"training": "smallest_first", "levels": {"one": 0.25, "b": 1.0}}, "a level is called one"),
        ({"hold_moments": 0}, "hold_moments"),
    ],
)
def test_ways_that_do_not_go_together_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        method(**values)
