"""Masks that are made anew from the weights in every step, with a gradient that goes straight through (SR-STE)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mirl.config import Stopped
from mirl.methods.plan import Plan
from mirl.objectives import Levels
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.training.gradients import Gradients
from mirl.training.loading import BatchSource
from mirl.training.loop import Trained, train
from mirl.training.process_group import ProcessGroup
from mirl.training.section import MachineSection
from mirl.training.subnetworks import TrainedSubnetworks
from tests.training.routed import BATCH, MASKS, make_batch, make_routed, make_routed_plan
from tests.training.tiny import FakeStream, make_context, make_section, same

DECAY = 0.2


@dataclass(frozen=True)
class Largest:
    """The smaller sub-network keeps a third of the weights of each layer, the larger one all."""

    share: float = 1 / 3

    def __call__(self, weights: Mapping[str, Tensor]) -> Masks:
        easy = {}
        for name, weight in weights.items():
            least = weight.abs().flatten().sort(descending=True).values[int(self.share * weight.numel())]
            easy[name] = weight.abs() > least
        return Masks({"easy": Mask(easy), "hard": Mask.full(weights)})


def make_plan(**more: Any) -> Plan:
    plan = make_routed_plan()
    state = make_routed().state_dict()
    masks = Largest()({name: state[name] for name in plan.mask})
    values: dict[str, Any] = {"objective": Levels(MASKS, DECAY), "remask": Largest()} | more
    return replace(plan, state=dict(state), masks=masks, **values)


def trained(folder: Path, plan: Plan | None = None, **more: Any) -> Trained:
    context = make_context(folder, **more)
    return train(make_routed(), plan or make_plan(), FakeStream(), make_section(steps=20), context)


def test_a_gradient_goes_to_what_is_left_out_and_decay_pulls_it() -> None:
    plan, network, batch = make_plan(), make_routed(), make_batch()
    subnetworks = TrainedSubnetworks(
        network, plan.masks, torch.autocast("cpu", enabled=False), False, plan.remask
    )
    with torch.no_grad():
        network.body.weight.mul_(
            torch.rand(network.body.weight.shape, generator=torch.Generator().manual_seed(4))
        )
    subnetworks.remake_masks()
    weights = {name: network.get_parameter(name).detach().clone() for name in plan.mask}
    masks = Largest()(weights)
    assert masks["easy"] != plan.masks["easy"]
    expected = dict.fromkeys(weights, torch.zeros(()))
    for mask in MASKS:
        other = make_routed()
        other.load_state_dict(network.state_dict() | masks[mask].apply(weights))
        out_BCHW = other(batch.degraded_BCHW)
        assert torch.equal(subnetworks(batch.degraded_BCHW, mask), out_BCHW)
        F.l1_loss(out_BCHW, batch.clean_BCHW).backward()
        for name, keep in masks[mask].items():
            straight = other.get_parameter(name).grad
            assert straight is not None
            expected[name] = expected[name] + (straight + DECAY * ~keep * weights[name]) / len(MASKS)
    terms = plan.objective.terms(subnetworks, batch, {})
    assert list(terms) == ["l1_easy", "l1_hard", "decay"]
    sum(terms.values(), torch.zeros(())).backward()
    for name, gradient in expected.items():
        found = network.get_parameter(name).grad
        assert found is not None and torch.allclose(found, gradient, atol=1e-7), name
        assert found[~masks["easy"][name]].ne(0).all()


def test_the_masks_follow_the_weights_and_a_kill_changes_nothing(tmp_path: Path) -> None:
    calm = trained(tmp_path / "calm")
    names = list(make_plan().mask)
    assert Largest()({name: calm.weights[name] for name in names})["easy"] != make_plan().masks["easy"]
    asked = iter([False] * 7 + [True])
    with pytest.raises(Stopped, match="after step 8 of 20"):
        trained(tmp_path / "stopped", should_stop=lambda: next(asked))
    resumed = trained(tmp_path / "stopped")
    assert same(resumed.weights, calm.weights) and resumed.history == calm.history
    fixed = trained(tmp_path / "fixed", make_plan(remask=None))
    assert not same(fixed.weights, calm.weights)


def test_masks_are_made_before_every_step_from_the_weights_that_it_finds(tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []

    def watched(weights: Mapping[str, Tensor]) -> Masks:
        seen.append({name: weight.clone() for name, weight in weights.items()})
        return Largest()(weights)

    end = trained(tmp_path, make_plan(remask=watched)).weights
    start = make_plan().state
    assert len(seen) == 20 and all(torch.equal(weight, start[name]) for name, weight in seen[0].items())
    assert len({weights["body.weight"].sum().item() for weights in seen}) == 20
    assert not torch.equal(seen[-1]["body.weight"], end["body.weight"])


def gradients(folder: Path, pieces: int, rank: int = 0, size: int = 1) -> dict[str, Tensor]:
    """Those of one of `size` processes, after the masks were made anew, before they are added up."""
    plan, network = make_plan(), make_routed()
    group = ProcessGroup(rank=rank, size=size)
    subnetworks = TrainedSubnetworks(
        network, plan.masks, torch.autocast("cpu", enabled=False), False, plan.remask
    )
    source = BatchSource(stream=FakeStream(), batch=BATCH, group=group)
    context = make_context(folder, group=group, machine=MachineSection(micro_batch=BATCH // size // pieces))
    subnetworks.remake_masks()
    Gradients(subnetworks, plan.objective, source, context).add(source.draw(0), 0)
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def test_pieces_and_processes_add_up_to_the_gradient_of_one(tmp_path: Path) -> None:
    whole, pieces = gradients(tmp_path, 1), gradients(tmp_path, 2)
    halves = [gradients(tmp_path, 1, rank, 2) for rank in range(2)]
    assert {"body.weight", "tail.weight"} < whole.keys() == pieces.keys()
    for name, gradient in whole.items():
        assert torch.allclose(pieces[name], gradient, atol=1e-7), name
        assert torch.allclose(halves[0][name] + halves[1][name], gradient, atol=1e-7), name
