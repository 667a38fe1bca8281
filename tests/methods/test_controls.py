from collections.abc import Callable

import pytest
import torch

from mirl.config import UserError
from mirl.methods.controls import Oneshot, OneshotArm, Random, RandomArm, Reinit, ReinitArm
from mirl.methods.plan import Parent
from mirl.sparsity.mask import State

Make = Callable[[float], Parent]
Initialise = Callable[[int], State]


def _random(**values: object) -> Random:
    return Random(RandomArm.read({"method": "random", **values}, "test"))


@pytest.mark.parametrize("scope", ["global", "layerwise", "shuffled"])
def test_a_random_mask_is_as_large_as_the_tickets_and_elsewhere(
    scope: str, make_parent: Make, initialise: Initialise
) -> None:
    parent = make_parent(0.3)
    mask = _random(scope=scope).plan(parent, initialise).mask
    assert mask.kept == parent.mask.kept
    shared = sum(int((mask[name] & parent.mask[name]).sum()) for name in mask)
    assert shared / mask.kept < 0.45  # 0.3 by chance
    other = _random(scope=scope, seed=1).plan(parent, initialise).mask
    assert other != mask and other.kept == mask.kept


def test_random_scopes_differ_in_what_each_layer_keeps(make_parent: Make, initialise: Initialise) -> None:
    parent = make_parent(0.5)
    parent.mask["head.weight"].fill_(False)
    parent.mask["head.weight"][0, 0] = True
    share = parent.mask.density
    layers = {
        s: _random(scope=s).plan(parent, initialise).mask.layer_kept()
        for s in ("global", "layerwise", "shuffled")
    }
    assert layers["shuffled"] == parent.mask.layer_kept()
    for name, kept in layers["layerwise"].items():
        assert abs(kept - share * parent.mask[name].numel()) < 1
    assert layers["global"] != layers["layerwise"]
    assert abs(layers["global"]["head.weight"] / 80 - share) < 0.2


def test_a_random_control_of_nothing_is_refused(make_parent: Make, initialise: Initialise) -> None:
    with pytest.raises(UserError, match="after a pruned one"):
        _random().plan(make_parent(1.1), initialise)


def test_reinit_keeps_the_mask_and_begins_at_step_0(make_parent: Make, initialise: Initialise) -> None:
    parent = make_parent(0.4)
    plan = Reinit(ReinitArm(method="reinit", seed=5)).plan(parent, initialise)
    assert plan.mask == parent.mask and plan.start_step == 0
    assert torch.equal(plan.state["temperature"], initialise(5)["temperature"])


def test_reinit_from_the_networks_own_seed_is_refused(make_parent: Make, initialise: Initialise) -> None:
    with pytest.raises(UserError, match="the very origin"):
        Reinit(ReinitArm(method="reinit", seed=0)).plan(make_parent(0.4), initialise)


def test_oneshot_cuts_straight_to_its_density(make_parent: Make, initialise: Initialise) -> None:
    parent = make_parent(1.1)
    plan = Oneshot(OneshotArm(method="oneshot", density=0.1)).plan(parent, initialise)
    assert plan.mask.kept == round(0.1 * parent.mask.total)
    kept = torch.cat([parent.state[name][plan.mask[name]].abs() for name in plan.mask])
    assert kept.min() >= torch.cat([parent.state[n][~plan.mask[n]].abs() for n in plan.mask]).max()


def test_oneshot_cannot_grow_a_ticket(make_parent: Make, initialise: Initialise) -> None:
    with pytest.raises(UserError, match="can be 1 "):
        Oneshot(OneshotArm(method="oneshot", density=0.9)).plan(make_parent(0.4), initialise)
