import pickle
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mirl.config import UserError, non_default_values
from mirl.methods import remembered
from mirl.methods.early_bird import EarlyBird
from mirl.methods.plan import Parent, TrainToEnd
from mirl.methods.rewind import Rewind, RewindArm
from mirl.networks import NetworkSection
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.sparsity.schedule import keep_after

Make = Callable[[float], Parent]
Initialise = Callable[[int], State]


def _arm(**values: object) -> Rewind:
    return Rewind(RewindArm.read({"method": "imp", "schedule": "authors", **values}, "test"))


@pytest.mark.parametrize("scope", ["global", "layerwise"])
@pytest.mark.parametrize("score", ["magnitude", "relative", "lamp"])
def test_rounds_take_exactly_their_fraction_of_the_survivors(
    scope: str, score: str, make_parent: Make, initialise: Initialise
) -> None:
    method, parent = _arm(scope=scope, score=score, fraction=0.3), make_parent(1.1)
    for seed in range(30, 36):
        plan = method.plan(parent, initialise)
        assert plan.mask.kept == keep_after(parent.mask.kept, 0.3)
        assert all(not (plan.mask[name] & ~parent.mask[name]).any() for name in plan.mask)
        parent = method.absorb(plan, plan.mask.apply(initialise(seed)), parent.origin, 0)


def test_the_smallest_over_all_layers_go(make_parent: Make, initialise: Initialise) -> None:
    parent = make_parent(1.1)
    plan = _arm(fraction=0.4).plan(parent, initialise)
    dropped = torch.cat([parent.state[name][~plan.mask[name]].abs() for name in plan.mask])
    stayed = torch.cat([parent.state[name][plan.mask[name]].abs() for name in plan.mask])
    assert dropped.max() <= stayed.min()


def test_a_later_origin_is_gone_back_to(make_parent: Make, initialise: Initialise) -> None:
    assert _arm().plan(replace(make_parent(0.5), origin_step=40), initialise).start_step == 40


def test_a_kept_weight_that_is_exactly_zero_is_a_survivor(initialise: Initialise) -> None:
    mask = Mask({"w": torch.tensor([True, False, True, True, False])})
    origin = {"w": torch.arange(1.0, 6.0)}
    weights = {"w": torch.tensor([0.0, 0.0, 0.0, 5.0, 0.0])}
    parent = Parent(
        network=NetworkSection(name="nafnet"),
        state=weights,
        masks=Masks.one(mask),
        origin=origin,
        origin_step=0,
    )
    plan = _arm(fraction=0.3).plan(parent, initialise)
    assert plan.mask["w"].tolist() == [True, False, False, True, False]
    assert plan.state["w"].tolist() == [1, 0, 0, 4, 0]


def test_every_layer_is_treated_alike_whatever_its_name(make_parent: Make, initialise: Initialise) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(40, generator=generator) for name in ("body", "output")}
    parent = Parent(
        network=NetworkSection(name="nafnet"),
        state=weights,
        masks=Masks.one(Mask.full(weights)),
        origin=weights,
        origin_step=0,
    )
    assert _arm(scope="layerwise", fraction=0.5).plan(parent, initialise).mask.layer_kept() == {
        "body": 20,
        "output": 20,
    }


def test_a_floor_keeps_a_layer_alive(make_parent: Make, initialise: Initialise) -> None:
    parent = make_parent(1.1)
    parent.state["head.weight"].mul_(1e-4)
    assert _arm(fraction=0.9).plan(parent, initialise).mask.layer_kept()["head.weight"] == 0
    assert _arm(fraction=0.9, floor=0.05).plan(parent, initialise).mask.layer_kept()["head.weight"] == 4


def test_a_density_that_the_floor_forbids_is_refused(make_parent: Make, initialise: Initialise) -> None:
    with pytest.raises(UserError, match="can be"):
        _arm(fraction=0.9, floor=0.5).plan(make_parent(1.1), initialise)


def test_a_search_ends_exactly_at_its_target(make_parent: Make, initialise: Initialise) -> None:
    method, parent = _arm(fraction=0.5, target=0.2), make_parent(1.1)
    densities = []
    for seed in range(30, 33):
        plan = method.plan(parent, initialise)
        parent = method.absorb(plan, plan.mask.apply(initialise(seed)), parent.origin, 0)
        densities.append(parent.mask.density)
    assert densities == [pytest.approx(share, abs=0.002) for share in (0.5, 0.25, 0.2)]
    assert parent.mask.kept == round(0.2 * parent.mask.total)
    with pytest.raises(UserError, match="nothing is left to remove.*target is 20.0000%"):
        method.plan(parent, initialise)


def test_only_rounds_before_the_target_are_short_and_may_end_early(
    make_parent: Make, initialise: Initialise
) -> None:
    method = _arm(fraction=0.5, target=0.3, length=0.25, settled={"every_steps": 10})
    ranking, last = method.plan(make_parent(1.1), initialise), method.plan(make_parent(0.5), initialise)
    assert (
        ranking.length == 0.25
        and isinstance(ranking.stopping_rule, EarlyBird)
        and ranking.stopping_rule.every_steps == 10
    )
    assert last.length == 1 and isinstance(last.stopping_rule, TrainToEnd)


@pytest.mark.parametrize("shortened", [{"length": 0.5}, {"settled": {"every_steps": 5}}])
def test_short_rounds_without_a_target_are_refused(shortened: dict[str, object]) -> None:
    with pytest.raises(UserError, match="name that `target`, or leave out"):
        _arm(**shortened)


def test_pruning_is_fast_first_and_slow_later(make_parent: Make, initialise: Initialise) -> None:
    method = _arm(fraction={"first": 0.6, "last": 0.2}, target=0.05)
    for density, removed in ((1.1, 0.6), (0.3, 0.44)):
        parent = make_parent(density)
        assert 1 - method.plan(parent, initialise).mask.kept / parent.mask.kept == pytest.approx(
            removed, abs=0.02
        )


def test_only_the_learning_rate_goes_back_where_that_is_asked(
    make_parent: Make, initialise: Initialise
) -> None:
    parent = replace(make_parent(0.5), origin_step=40)
    plan = _arm(rewind="learning_rate").plan(parent, initialise)
    assert plan.mask == _arm().plan(parent, initialise).mask
    assert torch.equal(plan.state["norm.weight"], parent.state["norm.weight"])
    assert plan.start_step == 40 and plan.samples.new and not _arm().plan(parent, initialise).samples.new
    assert plan.origin is not None and torch.equal(plan.origin["body.weight"], parent.origin["body.weight"])


def test_a_fraction_that_falls_needs_a_target_to_fall_towards() -> None:
    with pytest.raises(UserError, match="name that density"):
        _arm(fraction={"first": 0.6, "last": 0.2})


def test_the_short_search_is_the_default_and_the_authors_one_word_away() -> None:
    short, authors = (
        RewindArm.read({"method": "imp", **word}, "test") for word in ({}, {"schedule": "authors"})
    )
    assert (short.length, short.target, short.score, short.rewind) == (0.25, 0.1, "lamp", "learning_rate")
    assert (authors.fraction, authors.length, authors.target) == (0.2, 1.0, None)
    assert (authors.score, authors.rewind) == ("magnitude", "weights")


@pytest.mark.parametrize(
    "values",
    [{}, {"length": 1.0}, {"score": "magnitude"}, {"schedule": "authors", "fraction": 0.5, "score": "lamp"}],
)
def test_a_ticket_remembers_what_its_arm_was(values: dict[str, object]) -> None:
    arm = RewindArm.read({"method": "imp", **values}, "test")
    assert remembered(non_default_values(arm) | {"method": "imp"}).model_dump() == arm.model_dump()
    assert non_default_values(RewindArm.read({"method": "imp", "schedule": "authors"}, "test")) == {
        "method": "imp"
    }


def test_a_plan_with_a_stopping_rule_travels_to_other_processes(
    make_parent: Make, initialise: Initialise
) -> None:
    parent = make_parent(1.1)
    plan = _arm(fraction=0.5, target=0.2, settled={"every_steps": 1, "looks": 1}).plan(parent, initialise)
    seen, _ = pickle.loads(pickle.dumps(plan)).stopping_rule.check(parent.state, {})
    assert torch.equal(seen["masks"], plan.stopping_rule.check(parent.state, {})[0]["masks"])


def test_a_key_that_is_given_goes_before_the_schedules() -> None:
    arm = RewindArm.read({"method": "imp", "schedule": "authors", "fraction": 0.5, "score": "lamp"}, "test")
    assert (arm.fraction, arm.score, arm.rewind) == (0.5, "lamp", "weights")
    for wrong in ("longest", ["authors"]):
        with pytest.raises(UserError, match="`schedule` is"):
            RewindArm.read({"method": "imp", "schedule": wrong}, "test")
