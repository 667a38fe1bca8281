"""PnG with a goal in dB: pruned bit by bit, measured on samples, and what went too far is undone."""

from dataclasses import replace

import pytest
import torch

from mirl.config import UserError, non_default_values
from mirl.data.batches import Batch
from mirl.methods import remembered
from mirl.methods.plan import Parent
from mirl.methods.png import Png, PngArm
from mirl.methods.quality_goal import SAMPLES, QualityGoal, psnr_db
from mirl.tickets.routing import ByTask
from tests.methods.test_png import FIRST, SECOND, method, no_other_state, trained, untrained

LAX, STRICT = {"loss_db": 99.0}, {"loss_db": 0.05}


def draw(number: int) -> Batch:
    noise = torch.Generator().manual_seed(number)
    clean_BCHW = torch.rand(32, 3, 1, 1, generator=noise).expand(32, 3, 8, 8)
    degraded_BCHW = clean_BCHW + 0.1 * torch.randn(clean_BCHW.shape, generator=noise)
    return Batch(degraded_BCHW=degraded_BCHW, clean_BCHW=clean_BCHW, tasks=["a"] * 32, images=["b"] * 32)


def grown(planner: Png, parent: Parent | None = None) -> Parent:
    """What is believed after a round that grew the requirement and changed no weight."""
    parent = parent or untrained()
    plan = planner.plan(parent, no_other_state)
    return planner.absorb(plan, plan.state, plan.origin or plan.state, 0)


def pruned(planner: Png, parent: Parent, moved: bool = False) -> Parent:
    """What is believed after a round that prunes it; if `moved`, training has ruined its weights."""
    plan = planner.plan(parent, no_other_state)
    assert plan.length > 0 and not plan.idle
    belief = trained(planner, plan, 1) if moved else planner.absorb(plan, plan.state, parent.origin, 0)
    return planner.calibrate(belief, draw, parent)


def owned(parent: Parent, task: str = FIRST[0]) -> float:
    return parent.masks.own(task).density


def found(parent: Parent) -> ByTask:
    assert isinstance(parent.routing, ByTask)
    return parent.routing


def test_each_round_removes_a_share_of_what_is_left_as_long_as_the_goal_is_met() -> None:
    planner = method(FIRST, goal=LAX | {"fraction": 0.5}, structure={"kind": "unstructured"})
    first = pruned(planner, grown(planner))
    assert owned(first) == pytest.approx(0.5, abs=1e-3) and not first.undone
    before = found(first).pruned["denoise_15"]
    assert before.grown_db == psnr_db(grown(planner).alone("denoise_15"), draw) != before.kept_db
    second = pruned(planner, first)
    assert owned(second) == pytest.approx(0.25, abs=1e-3)
    after = found(second).pruned["denoise_15"]
    assert after.grown_db == before.grown_db and after.refused_db is None
    assert after.kept_db == psnr_db(second.alone("denoise_15"), draw)


def test_a_round_that_loses_more_than_the_goal_is_undone_and_the_next_one_has_nothing_to_do() -> None:
    lax = method(FIRST, goal=LAX)
    before = pruned(lax, grown(lax))
    planner = method(FIRST, goal=STRICT)
    kept = replace(before, routing=_as_good(found(before)))
    after = pruned(planner, kept, moved=True)
    assert after.masks == before.masks
    assert all(torch.equal(after.state[name], tensor) for name, tensor in before.state.items())
    refused = found(after).pruned["denoise_15"].refused_db
    assert refused is not None
    lost = found(after).pruned["denoise_15"].grown_db - refused
    assert after.undone == (
        f"undone, denoise_15 owns {owned(before):.2%} of all weights, and pruned further it loses {lost:.4f} dB, more than "
        "its goal of 0.05"
    )
    plan = planner.plan(after, no_other_state)
    assert plan.length == 0 and plan.optional and plan.masks == after.masks and plan.routing == after.routing
    assert plan.idle.startswith("nothing is left to do: denoise_15 owns ")
    assert all(torch.equal(plan.state[name], tensor) for name, tensor in after.state.items())
    idle = planner.calibrate(planner.absorb(plan, plan.state, after.origin, 0), draw, after)
    assert idle.routing == after.routing and idle.masks == after.masks

    further = lax.plan(after, no_other_state)  # a goal that the refused round would have met
    assert further.length > 0 and further.mask.kept < after.mask.kept


def _as_good(routing: ByTask) -> ByTask:
    """Say of the pruned sub-networks that they have lost nothing."""
    as_good = {
        name: quality.model_copy(update={"grown_db": quality.kept_db})
        for name, quality in routing.pruned.items()
    }
    return routing.model_copy(update={"pruned": as_good})


def test_of_a_goal_that_no_density_meets_all_is_kept_and_nothing_is_free() -> None:
    planner = method(FIRST, goal=STRICT)
    whole = grown(planner)
    after = pruned(planner, whole, moved=True)
    assert after.mask.density == 1 and after.undone.startswith("undone, denoise_15 owns 100.00% of all")
    with pytest.raises(UserError, match="no capacity is left for denoise_25: denoise_15 own all"):
        method(SECOND, goal=STRICT).plan(after, no_other_state)


def test_a_goal_that_every_density_meets_ends_at_the_least_that_blocks_allow() -> None:
    planner = method(FIRST, goal=LAX | {"fraction": 0.9}, structure={"kind": "blocks", "least": 2})
    parent = grown(planner)
    plan = planner.plan(parent, no_other_state)
    for _ in range(9):
        if plan.idle:
            break
        parent = pruned(planner, parent)
        plan = planner.plan(parent, no_other_state)
    assert plan.idle == "nothing is left to prune, denoise_15 owns the least in such blocks"
    assert plan.length == 0 and plan.masks == parent.masks


def test_a_later_requirement_has_a_goal_of_its_own_and_leaves_the_earlier_ones_measure() -> None:
    first = method(FIRST, goal=LAX)
    before = pruned(first, grown(first))
    planner = method(SECOND, goal=LAX)
    after = pruned(planner, grown(planner, before))
    assert found(after).pruned["denoise_15"] == found(before).pruned["denoise_15"]
    assert found(after).pruned.keys() == {"denoise_15", "denoise_25"}
    assert 0 < owned(after, "denoise_25") < 1 - owned(before)
    again = pruned(planner, after)
    assert owned(again, "denoise_25") < owned(after, "denoise_25")
    with pytest.raises(UserError, match="the requirement denoise_15 comes twice"):
        first.plan(again, no_other_state)
    with pytest.raises(UserError, match=r"denoise_25 comes twice: it is pruned already, to \d"):
        method(SECOND).plan(again, no_other_state)


def test_the_goal_is_a_share_or_a_loss_and_is_remembered() -> None:
    arm = PngArm.read({"method": "png", "goal": {"loss_db": 0.1}}, "arm")
    assert arm.goal == QualityGoal(loss_db=0.1)
    assert non_default_values(arm) == {"method": "png", "goal": {"loss_db": 0.1}}
    assert remembered(non_default_values(arm)) == arm
    assert non_default_values(PngArm.read({"method": "png", "goal": 0.3}, "arm"))["goal"] == 0.3
    for wrong in (1.0, {"loss_db": -1.0}, {"fraction": 0.5}, {"loss_db": 0.1, "fraction": 1.0}):
        with pytest.raises(UserError, match="goal"):
            PngArm.read({"method": "png", "goal": wrong}, "arm")


def test_the_psnr_is_of_clamped_images_and_of_enough_of_them() -> None:
    asked: list[int] = []

    def white(number: int) -> Batch:
        asked.append(number)
        noise = torch.Generator().manual_seed(number)
        clean_BCHW = torch.ones(32, 3, 32, 32)
        degraded_BCHW = clean_BCHW + 0.1 * torch.randn(clean_BCHW.shape, generator=noise)
        return Batch(degraded_BCHW=degraded_BCHW, clean_BCHW=clean_BCHW, tasks=["a"] * 32, images=[])

    parent = untrained()
    for name in ("tail.weight", "tail.bias"):
        parent.state[name].zero_()
    # The output is the input: 20 dB of noise, of which clamping takes away what is above white, a half of its energy.
    assert psnr_db(parent, white) == pytest.approx(20 + 3.01, abs=0.05)
    assert asked == list(range(SAMPLES // 32))
