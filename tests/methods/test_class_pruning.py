"""ClassPruning: nested sub-networks, and the router that chooses among them."""

from typing import Any

import pytest
import torch

from mirl import networks
from mirl.config import UserError
from mirl.data.batches import Batch
from mirl.methods.class_pruning import CALIBRATION_BATCHES, ClassPruning, ClassPruningArm
from mirl.methods.plan import Parent
from mirl.networks import ROUTER, NetworkSection
from mirl.sparsity.accounting import macs
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.tickets.routing import ByDifficulty, ByWork

SECTION = NetworkSection(
    name="nafnet", options={"width": 16, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 1}
)


def no_other_state(seed: int) -> State:
    raise AssertionError("the method asks for no other initialisation")


def parent(density: float = 1.0) -> Parent:
    network = networks.build(SECTION)
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    draw = torch.Generator().manual_seed(1)
    mask = Mask(
        {
            name: torch.rand(weight.shape, generator=draw) < density
            for name, weight in networks.prunable(network, False).items()
        }
    )
    return Parent(
        network=SECTION, state=mask.apply(state), masks=Masks.one(mask), origin=state, origin_step=0
    )


def method(**values: Any) -> ClassPruning:
    values = {"router": {"channels": 4, "patch": 16}} | values
    return ClassPruning(ClassPruningArm.read({"method": "class_pruning"} | values, "arm"))


def after_levels(**values: Any) -> Parent:
    planner = method(**values)
    plan = planner.plan(parent(), no_other_state)
    assert plan.origin is not None
    return planner.calibrate(planner.absorb(plan, plan.state, plan.origin, 0), _draw, parent())


def _draw(number: int) -> Batch:
    draw = torch.Generator().manual_seed(number)
    clean_BCHW = torch.rand(4, 3, 16, 16, generator=draw) * torch.rand(4, 1, 1, 1, generator=draw)
    return Batch(degraded_BCHW=clean_BCHW, clean_BCHW=clean_BCHW, tasks=["derain"] * 4, images=["a"] * 4)


@pytest.mark.parametrize("outputs", [1, 4, 16])
@pytest.mark.parametrize("density", [1.0, 0.6])
def test_each_level_keeps_n_of_every_m_inputs_inside_the_next(density: float, outputs: int) -> None:
    before = parent(density)
    structure = {"kind": "n_of_m", "m": 16, "outputs": outputs, "indivisible": "keep"}
    masks = method(structure=structure).plan(before, no_other_state).masks
    assert list(masks) == ["easy", "medium", "hard"] and masks.nested
    assert masks["hard"] == before.mask
    for name, n in (("easy", 4), ("medium", 8)):
        for layer in ("encoder.0.0.mix_in.weight", "middle.0.feed_out.weight", "up.0.weight"):
            keep_OI = masks[name][layer].flatten(1)
            groups = keep_OI.view(len(keep_OI), -1, 16).sum(-1)
            assert bool((groups == n).all() if density == 1 else (groups <= n).all()), layer
            if density == 1:  # a group of outputs keeps the same inputs
                assert torch.equal(keep_OI[0::outputs].repeat_interleave(outputs, 0), keep_OI), layer


def test_the_router_can_choose_for_whole_images() -> None:
    values = {"router": {"channels": 4, "patch": 16, "unit": "image"}}
    planner = method(**values)
    plan = planner.plan(after_levels(**values), no_other_state)
    assert plan.origin is not None
    routing = planner.calibrate(planner.absorb(plan, plan.state, plan.origin, 0), _draw, parent()).routing
    assert isinstance(routing, ByDifficulty) and routing.unit == "image" and "whole images" in routing.words()
    assert routing.model_dump()["unit"] == "image"
    assert "unit" not in routing.model_copy(update={"unit": "patch"}).model_dump()


def test_a_level_that_loses_a_layer_is_refused() -> None:
    """Without its last layer the network is the identity: magnitude over all layers cuts that first."""
    before = parent()
    before.state["up.0.weight"].mul_(1e-4)
    values = {"structure": {"kind": "unstructured"}, "scope": "global"}
    with pytest.raises(
        UserError, match="the sub-network medium keeps no weight of up.0.weight; use a `floor`"
    ):
        method(**values).plan(before, no_other_state)
    kept = method(**values, floor=0.01).plan(before, no_other_state).masks["easy"].layer_kept()
    assert kept["up.0.weight"] > 0
    kept = method(**values, score="lamp").plan(before, no_other_state).masks["easy"].layer_kept()
    assert kept["up.0.weight"] > 0


def test_what_is_indivisible_runs_once_or_is_named_stays_as_the_parent_has_it() -> None:
    before = parent(0.8)
    masks = method(whole=["up."]).plan(before, no_other_state).masks
    for layer in (
        "head.weight",
        "encoder.0.0.mix_depthwise.weight",
        "encoder.0.0.mix_attention.weight",
        "up.0.weight",
    ):
        assert torch.equal(masks["easy"][layer], before.mask[layer]), layer
    assert masks["easy"]["down.0.weight"].sum() < before.mask["down.0.weight"].sum()


def test_layers_can_keep_more_than_the_level_says() -> None:
    masks = method(layers={"up.": 0.75, "up.0.": 0.5}).plan(parent(), no_other_state).masks
    assert masks.nested
    kept = {name: mask["up.0.weight"].float().mean().item() for name, mask in masks.items()}
    assert kept == {"easy": 0.5, "medium": 0.5, "hard": 1.0}
    assert masks["easy"]["down.0.weight"].float().mean() == 0.25
    plain = method().plan(parent(), no_other_state).masks
    for name, mask in masks.items():
        assert {layer for layer in mask if not torch.equal(mask[layer], plain[name][layer])} == (
            {"up.0.weight"} if name == "easy" else set()
        )


@pytest.mark.parametrize(
    "structure", [{"kind": "unstructured"}, {"kind": "blocks", "outputs": 2, "inputs": 2}]
)
def test_layers_that_keep_more_do_so_in_any_structure(structure: dict[str, Any]) -> None:
    values = {"structure": structure, "scope": "global", "score": "lamp"}
    masks = method(layers={"up.": 0.6}, **values).plan(parent(), no_other_state).masks
    for name, share in (("easy", 0.6), ("medium", 0.6)):
        assert masks[name]["up.0.weight"].float().mean().item() == pytest.approx(share, abs=0.02)
    assert masks.nested and masks["easy"].kept < masks["medium"].kept


def test_levels_inside_a_ticket_can_be_unstructured() -> None:
    before = parent(0.3)
    arm = {
        "structure": {"kind": "unstructured"},
        "scope": "global",
        "levels": {"some": 0.5, "all": 1.0},
        "score": "lamp",
    }
    masks = method(**arm).plan(before, no_other_state).masks
    pruned = sum(keep.sum() for name, keep in before.mask.items() if "mix_attention" not in name)
    attention = before.mask.kept - int(pruned)
    assert masks.nested and masks["some"].kept - attention == round(int(pruned) / 2)


def test_the_levels_are_read_in_any_order() -> None:
    masks = method(levels={"b": 1.0, "a": 0.25}).plan(parent(), no_other_state).masks
    assert list(masks) == ["a", "b"]


def test_the_first_round_trains_all_levels_from_the_parents_weights() -> None:
    before = parent()
    plan = method().plan(before, no_other_state)
    assert all(torch.equal(plan.state[name], tensor) for name, tensor in before.state.items())
    assert not plan.frozen and plan.samples.new and plan.network == SECTION
    assert plan.objective.passes(list(plan.masks)) == {"easy": 3, "medium": 3, "hard": 3}


def test_the_work_of_the_levels_is_counted_once_they_are_trained() -> None:
    found = after_levels()
    network = networks.outline(SECTION)
    whole = macs(network, found.masks["hard"], 16, 16).kept_g
    assert isinstance(found.routing, ByWork)
    for name, mask in found.masks.items():
        assert found.routing.levels[name] == macs(network, mask, 16, 16).kept_g / whole


def test_the_second_round_trains_the_router_alone() -> None:
    before = after_levels()
    plan = method().plan(before, no_other_state)
    own = {name for name in plan.state if name.startswith(ROUTER)}
    assert own and plan.frozen.keys() == before.state.keys() == plan.state.keys() - own
    assert all(bool(where.all()) for where in plan.frozen.values())
    assert plan.network.router is not None and plan.network.router.outputs == 3
    assert plan.origin is not None and plan.origin.keys() == plan.state.keys()
    assert plan.length == 0.5 and plan.masks == before.masks


@pytest.mark.parametrize("train", ["after", "along"])
def test_no_round_shares_memory_with_its_parent(train: str) -> None:
    arm = {"router": {"channels": 4, "patch": 16, "train": train}}
    for before in [parent(), after_levels()] if train == "after" else [parent()]:
        plan = method(**arm).plan(before, no_other_state)
        assert plan.origin is not None
        own = {t.data_ptr() for state in (before.state, before.origin) for t in state.values()}
        assert not own & {t.data_ptr() for state in (plan.state, plan.origin) for t in state.values()}


def test_along_trains_levels_and_router_in_one_round() -> None:
    planner = method(router={"channels": 4, "patch": 16, "train": "along"})
    plan = planner.plan(parent(), no_other_state)
    assert any(name.startswith(ROUTER) for name in plan.state) and not plan.frozen
    assert plan.origin is not None
    found = planner.calibrate(planner.absorb(plan, plan.state, plan.origin, 0), _draw, parent())
    assert isinstance(found.routing, ByDifficulty)
    with pytest.raises(UserError, match="nothing is left to do"):
        planner.plan(found, no_other_state)


def test_a_trained_router_is_calibrated_on_samples_that_no_training_saw() -> None:
    planner, asked = method(work=0.6), []

    def draw(number: int) -> Batch:
        asked.append(number)
        return _draw(number)

    before = after_levels()
    plan = planner.plan(before, no_other_state)
    assert plan.origin is not None
    found = planner.calibrate(planner.absorb(plan, plan.state, plan.origin, 0), draw, parent())
    assert asked == list(range(CALIBRATION_BATCHES))
    assert isinstance(found.routing, ByDifficulty) and isinstance(before.routing, ByWork)
    assert found.routing.levels == before.routing.levels
    assert (found.routing.patch, found.routing.work) == (16, 0.6)
    assert (found.routing.curve[0].work, found.routing.curve[-1].work) == (found.routing.works[0], 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {
                "structure": {"kind": "n_of_m", "m": 7, "indivisible": "keep"},
                "levels": {"a": 1 / 7, "b": 1.0},
            },
            "both keep .* weights",
        ),
        (
            {"structure": {"kind": "n_of_m", "m": 7}, "levels": {"a": 1 / 7, "b": 1.0}},
            "which 7 does not divide",
        ),
        ({"levels": {"a": 0.3, "b": 1.0}}, "are not N of 16"),
        ({"whole": [""]}, "no layer is left to prune"),
        (
            {"layers": {"tial.": 0.75}},
            "`layers` has 'tial.', with which no layer .* begins; the first is decoder",
        ),
    ],
)
def test_levels_that_cannot_be_made_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        method(**values).plan(parent(), no_other_state)


@pytest.mark.parametrize(
    ("router", "message"),
    [
        (
            {"channels": 200, "patch": 16},
            r"the router takes \d+\.\d% of the network's work, expected at most 3%",
        ),
        ({"channels": 4, "patch": 15}, "router.patch is 15, expected a multiple of 2"),
    ],
)
def test_a_router_that_does_not_fit_is_refused(router: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        method(router=router).plan(after_levels(), no_other_state)


def test_a_router_after_other_levels_is_refused() -> None:
    with pytest.raises(UserError, match="with the sub-networks easy, medium, hard, expected one, or a, b"):
        method(levels={"a": 0.5, "b": 1.0}).plan(after_levels(), no_other_state)


@pytest.mark.parametrize(
    "levels", [{"a": 0.5}, {"a": 0.5, "b": 0.5}, {"a": 0.0, "b": 1.0}, {"a": 0.5, "b": 1.1}]
)
def test_levels_that_are_no_levels_are_refused(levels: dict[str, float]) -> None:
    with pytest.raises(UserError, match="levels"):
        method(levels=levels)


def test_the_first_weights_of_a_network_do_not_depend_on_its_router() -> None:
    plain = networks.build(SECTION).state_dict()
    routed = networks.build(replaced()).state_dict()
    assert all(torch.equal(routed[name], tensor) for name, tensor in plain.items())
    assert {name for name in routed if name not in plain} == {
        name for name in routed if name.startswith(ROUTER)
    }
    assert networks.prunable(networks.build(replaced()), False).keys() == parent().mask.keys()
    assert "router" not in SECTION.spec() and replaced().spec()["router"] == {"outputs": 2, "channels": 16}


def replaced() -> NetworkSection:
    return NetworkSection.read(SECTION.spec() | {"router": {"outputs": 2}}, "network")
