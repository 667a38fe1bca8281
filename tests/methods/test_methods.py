"""What holds for every method; a new one fails here until it has an arm below."""

import pickle
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from mirl.config import UserError, non_default_values
from mirl.methods import METHODS, Arm, Role, planner, remembered, role_of, with_role
from mirl.methods.plan import Parent, Plan
from mirl.sparsity.mask import State

Make = Callable[[float], Parent]
Initialise = Callable[[int], State]

ARMS: dict[str, dict[str, Any]] = {
    "dense": {},
    "imp": {"schedule": "authors", "fraction": 0.3},
    "random": {},
    "reinit": {"seed": 3},
    "replay": {},
    "oneshot": {"density": 0.2},
    "class_pruning": {"structure": {"kind": "unstructured"}},
    "png": {},
}
REQUIREMENTS = {"png": ("denoise_15",)}
PARENT_DENSITY = {"dense": 1.1, "png": 1.1}
STARTS = {"dense": 7, "replay": 7, "reinit": 3, "class_pruning": 7, "png": 7}
"""Seed of the state that a round begins with; 0, the origin, for all others."""
ORIGINS = {"reinit": 3}
"""Seed of the state that the next one can rewind to; 0 for all others."""


def _plan(method: str, make_parent: Make, initialise: Initialise) -> tuple[Parent, Plan]:
    parent = make_parent(PARENT_DENSITY.get(method, 0.5))
    arm = TypeAdapter(Arm).validate_python({"method": method, **ARMS[method]})
    return parent, planner(arm).serving(REQUIREMENTS.get(method, ())).plan(parent, initialise)


@pytest.mark.parametrize("method", METHODS)
def test_a_round_starts_from_the_mask_times_what_it_goes_back_to_for_every_parameter(
    method: str, make_parent: Make, initialise: Initialise
) -> None:
    parent, plan = _plan(method, make_parent, initialise)
    start, origin = initialise(STARTS.get(method, 0)), initialise(ORIGINS.get(method, 0))
    assert plan.state.keys() == start.keys() == parent.state.keys()
    for name, tensor in plan.state.items():
        expected = start[name] * plan.mask[name] if name in plan.mask else start[name]
        assert torch.equal(tensor, expected), name
    if plan.origin is not None:
        assert all(torch.equal(plan.origin[name], origin[name]) for name in origin)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_but_the_prunable_is_ever_masked(
    method: str, make_parent: Make, initialise: Initialise
) -> None:
    parent, plan = _plan(method, make_parent, initialise)
    assert list(plan.mask) == list(parent.mask) and not plan.frozen


@pytest.mark.parametrize("method", METHODS)
def test_training_in_place_reaches_no_parent(method: str, make_parent: Make, initialise: Initialise) -> None:
    parent, plan = _plan(method, make_parent, initialise)
    before = {name: (parent.state[name].clone(), parent.origin[name].clone()) for name in parent.state}
    mask = {name: keep.clone() for name, keep in parent.mask.items()}
    for tensor in [*plan.state.values(), *(plan.origin or {}).values()]:
        tensor.fill_(9)
    for name, (weights, origin) in before.items():
        assert torch.equal(parent.state[name], weights) and torch.equal(parent.origin[name], origin), name
    assert all(torch.equal(parent.mask[name], keep) for name, keep in mask.items())
    if plan.origin:
        plan.state["norm.weight"].fill_(5)
        assert plan.origin["norm.weight"].eq(9).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_same_question_has_the_same_answer(
    method: str, make_parent: Make, initialise: Initialise
) -> None:
    torch.manual_seed(1)
    _, first = _plan(method, make_parent, initialise)
    torch.manual_seed(2)
    _, second = _plan(method, make_parent, initialise)
    assert first.mask == second.mask and first.start_step == second.start_step
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_believed_is_the_plans_mask_and_copies_of_the_training(
    method: str, make_parent: Make, initialise: Initialise
) -> None:
    _, plan = _plan(method, make_parent, initialise)
    arm = TypeAdapter(Arm).validate_python({"method": method, **ARMS[method]})
    trained, origin = plan.mask.apply(initialise(20)), initialise(21)
    trained["body.weight"][plan.mask["body.weight"]] = 0.0  # kept weights that training made exactly zero
    belief = planner(arm).serving(REQUIREMENTS.get(method, ())).absorb(plan, trained, origin, 4)
    assert belief.mask == plan.mask and belief.origin_step == 4
    trained["temperature"].fill_(9)
    origin["temperature"].fill_(9)
    assert not belief.state["temperature"].eq(9).any() and not belief.origin["temperature"].eq(9).any()


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_that_grew_back_is_our_mistake(
    method: str, make_parent: Make, initialise: Initialise
) -> None:
    _, plan = _plan("imp", make_parent, initialise)
    arm = TypeAdapter(Arm).validate_python({"method": method, **ARMS[method]})
    with pytest.raises(AssertionError, match="not zero"):
        planner(arm).serving(REQUIREMENTS.get(method, ())).absorb(plan, initialise(20), initialise(0), 0)
    incomplete = plan.mask.apply(initialise(20))
    del incomplete["temperature"]
    with pytest.raises(AssertionError, match="complete"):
        planner(arm).serving(REQUIREMENTS.get(method, ())).absorb(plan, incomplete, initialise(0), 0)


@pytest.mark.parametrize(
    "values",
    [{"method": name, **ARMS[name]} for name in ARMS]
    + [{"method": "imp"}, {"method": "imp", "schedule": "authors", "rewind": "learning_rate"}],
    ids=str,
)
def test_weights_go_on_from_the_parents_where_the_method_says_so(
    values: dict[str, object], make_parent: Make, initialise: Initialise
) -> None:
    parent = make_parent(PARENT_DENSITY.get(str(values["method"]), 0.5))
    arm = TypeAdapter(Arm).validate_python(values)
    method = planner(arm).serving(REQUIREMENTS.get(arm.method, ()))
    plan = method.plan(parent, initialise)
    same = all(
        torch.equal(t[plan.mask[n]], parent.state[n][plan.mask[n]])
        for n, t in plan.state.items()
        if n in plan.mask
    )
    assert method.continues == same


def test_every_method_says_its_role() -> None:
    assert all(name in with_role(role_of(name)) and role_of(name) in get_args(Role) for name in METHODS)
    assert with_role("reference") == ["dense"] and with_role("candidate") == ["imp", "class_pruning", "png"]
    assert {role_of(name) for name in ("random", "reinit", "replay", "oneshot")} == {"control"}
    with pytest.raises(UserError, match="there is no method 'magic'; the known ones are .*dense, imp"):
        role_of("magic")


def test_an_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(Arm).validate_python({"method": "magic"})
    assert all(f"'{name}'" in str(raised.value) for name in METHODS)


@pytest.mark.parametrize(
    "values",
    [
        {"method": "imp", "fraction": 1.0}, {"method": "imp", "fraction": 0}, {"method": "imp", "floor": 1.0},
        {"method": "imp", "score": "gut"}, {"method": "imp", "scope": "local"}, {"method": "imp", "speed": 1},
        {"method": "oneshot"}, {"method": "oneshot", "density": 0.0}, {"method": "oneshot", "density": 1.0},
        {"method": "random", "seed": -1}, {"method": "reinit", "seed": 1.5}, {"method": "dense", "seed": 1},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Arm).validate_python(values)


@pytest.mark.parametrize("method", METHODS)
def test_a_plan_travels_to_other_processes_with_all_that_it_says(
    method: str, make_parent: Make, initialise: Initialise
) -> None:
    parent, plan = _plan(method, make_parent, initialise)
    there = pickle.loads(pickle.dumps(plan))
    assert there.masks == plan.masks and there.network == plan.network == parent.network
    assert all(torch.equal(there.state[name], tensor) for name, tensor in plan.state.items())
    assert all(not there.state[name][~keep].any() for name, keep in there.masks.union.items())
    assert (there.objective, there.samples, there.routing, dict(there.rates)) == (
        plan.objective, plan.samples, plan.routing, dict(plan.rates),
    )  # fmt: skip
    seen: State = {}
    other: State = {}
    ruled = [
        rule.check(dict(plan.state), state)
        for rule, state in ((plan.stopping_rule, seen), (there.stopping_rule, other))
    ]
    assert ruled[0][1] == ruled[1][1]


STRUCTURED: dict[str, dict[str, Any]] = {
    "imp": {"schedule": "authors", "fraction": 0.5},
    "oneshot": {"density": 0.25},
}


@pytest.mark.parametrize("method", STRUCTURED)
@pytest.mark.parametrize(
    "structure",
    [{"kind": "blocks", "outputs": 2, "inputs": 2}, {"kind": "n_of_m", "m": 4, "indivisible": "keep"}],
    ids=["blocks", "n_of_m"],
)
def test_a_structure_is_cut_where_an_arm_asks_for_it(
    method: str, structure: dict[str, Any], make_parent: Make, initialise: Initialise
) -> None:
    arm = TypeAdapter(Arm).validate_python({"method": method, "structure": structure, **STRUCTURED[method]})
    plan = planner(arm).plan(make_parent(1.1), initialise)
    weight = plan.mask["body.weight"]  # 8 outputs, 4 inputs, 3 x 3
    if structure["kind"] == "blocks":
        blocks = weight.reshape(4, 2, 2, 2, 9).transpose(1, 2).reshape(8, -1)
        assert all(bool(block.all()) or not bool(block.any()) for block in blocks)
    else:
        kept = int(plan.mask["body.weight"].sum(1).unique())
        assert kept == {"imp": 2, "oneshot": 1}[method]
    assert not plan.state["body.weight"][~weight].any()


@pytest.mark.parametrize("method", ["class_pruning", "png"])
def test_a_ticket_remembers_a_structure_all_of_whose_keys_are_at_their_defaults(method: str) -> None:
    values = {"method": method, "structure": {"kind": "unstructured"}}
    arm = TypeAdapter(Arm).validate_python(values)
    assert remembered(non_default_values(arm) | {"method": method}) == arm
    with pytest.raises(ValidationError, match="structure"):
        TypeAdapter(Arm).validate_python({"method": method, "structure": {}})


def test_the_default_structure_is_in_no_lineage() -> None:
    for method in STRUCTURED:
        arm = TypeAdapter(Arm).validate_python({"method": method, **STRUCTURED[method]})
        assert "structure" not in non_default_values(arm)
