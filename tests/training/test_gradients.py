"""The gradients of a batch: the same in any number of pieces and processes, whatever the objective."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mirl.data.batches import Batch
from mirl.objectives import Objective, Reconstruction, Subnetworks
from mirl.training.gradients import Gradients
from mirl.training.launch import train
from mirl.training.loading import BatchSource
from mirl.training.process_group import ProcessGroup
from mirl.training.section import MachineSection
from mirl.training.subnetworks import TrainedSubnetworks
from tests.training.routed import BATCH, Balanced, Routed, make_batch, make_routed, make_routed_plan
from tests.training.tiny import FakeStream, make_context, make_section


def _gradients(tmp_path: Any, objective: Objective, pieces: int, network: Routed) -> Gradients:
    plan = make_routed_plan()
    network.load_state_dict(plan.state)
    subnetworks = TrainedSubnetworks(network, plan.masks, torch.autocast("cpu", enabled=False), False)
    source = BatchSource(stream=FakeStream(), batch=BATCH, group=ProcessGroup())
    context = make_context(tmp_path, machine=MachineSection(micro_batch=BATCH // pieces))
    return Gradients(subnetworks, objective, source, context)


def _of(tmp_path: Any, objective: Objective, pieces: int) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss and terms, gradients by name)."""
    network = make_routed()
    losses = _gradients(tmp_path, objective, pieces, network).add(make_batch(), 0)
    return losses, {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@dataclass(frozen=True)
class OneWay(Reconstruction):
    """L1 of one of several sub-networks."""

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        return {"l1": torch.nn.functional.l1_loss(subnetworks(piece.degraded_BCHW, "hard"), piece.clean_BCHW)}


@dataclass(frozen=True)
class Piecewise(Balanced):
    """The mistake that `sums` is there to avoid: each piece is taken for the whole batch."""

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        return super().terms(subnetworks, piece, self.sums(subnetworks, piece))


@pytest.mark.parametrize("objective", [OneWay(), Balanced()], ids=["mean over samples", "class sums"])
@pytest.mark.parametrize("pieces", [2, 4])
def test_pieces_give_the_gradient_of_the_whole_batch(
    tmp_path: Any, objective: Objective, pieces: int
) -> None:
    whole, wanted = _of(tmp_path, objective, 1)
    losses, found = _of(tmp_path, objective, pieces)
    assert torch.allclose(losses, whole, rtol=1e-6)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-8), name


def test_the_check_above_notices_an_objective_that_takes_a_piece_for_the_whole(tmp_path: Any) -> None:
    _, wanted = _of(tmp_path, Piecewise(), 1)
    _, found = _of(tmp_path, Piecewise(), 4)
    assert not torch.allclose(found["router.weight"], wanted["router.weight"], rtol=1e-2)


def test_a_loss_is_the_sum_of_its_terms_which_have_names(tmp_path: Any) -> None:
    network = make_routed()
    gradients = _gradients(tmp_path, Balanced(), 2, network)
    loss, l1, balance = gradients.add(make_batch(), 0).tolist()
    assert gradients.terms == ["l1", "balance"] and loss == pytest.approx(l1 + balance)


def test_a_sub_network_runs_without_what_its_mask_drops() -> None:
    plan, network = make_routed_plan(), make_routed()
    network.load_state_dict(plan.state)
    subnetworks = TrainedSubnetworks(network, plan.masks, torch.autocast("cpu", enabled=False), False)
    image_BCHW = torch.rand(2, 3, 8, 8)
    found = {mask: subnetworks(image_BCHW, mask) for mask in plan.masks}
    for mask, own in plan.masks.items():
        network.load_state_dict(own.apply(plan.state))
        assert torch.equal(network(image_BCHW), found[mask])
    assert not torch.equal(found["easy"], found["hard"])


def test_two_processes_train_what_one_would_with_class_sums_and_record_every_term(tmp_path: Any) -> None:
    section = make_section(steps=20)
    alone = make_context(tmp_path / "alone", machine=MachineSection(threads=1, checkpoint_seconds=1e9))
    together = make_context(
        tmp_path / "together", machine=MachineSection(threads=1, checkpoint_seconds=1e9, processes=2)
    )
    one = train(make_routed(), make_routed_plan(), FakeStream(), section, alone)
    two = train(make_routed(), make_routed_plan(), FakeStream(), section, together)
    for name, weight in one.weights.items():
        assert torch.allclose(two.weights[name], weight, atol=1e-5), name
    assert list(one.history[0]) == [
        "step",
        "loss",
        "learning_rate",
        "gradient_norm",
        "loss/l1",
        "loss/balance",
    ]
    for ours, theirs in zip(two.history, one.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)
        assert ours["loss"] == pytest.approx(ours["loss/l1"] + ours["loss/balance"])


def test_a_killed_training_of_several_terms_goes_on_to_the_same_bytes(tmp_path: Any) -> None:
    section = make_section(steps=12)
    calm = train(make_routed(), make_routed_plan(), FakeStream(), section, make_context(tmp_path / "calm"))
    stream = FakeStream()
    stopped = make_context(tmp_path / "stopped", should_stop=lambda: stream.asked[-1] == 6)
    with pytest.raises(Exception, match="after step 7 of 12"):
        train(make_routed(), make_routed_plan(), stream, section, stopped)
    resumed = train(
        make_routed(), make_routed_plan(), FakeStream(), section, replace(stopped, should_stop=lambda: False)
    )
    assert resumed.history == calm.history
    assert all(torch.equal(resumed.weights[name], weight) for name, weight in calm.weights.items())


class OtherProcess(ProcessGroup):
    """Another process has a gradient for every parameter, and adds nothing to those of this one."""

    def any_of(self, flags: list[bool]) -> list[bool]:  # type: ignore[override]
        return [flags[0], *[True] * (len(flags) - 1)]


def test_a_parameter_without_a_gradient_here_takes_part_with_zeros(tmp_path: Any) -> None:
    summed: list[int] = []

    class Counting(OtherProcess):
        def all_reduce_(self, tensors: Any) -> None:
            summed.append(len(tensors))

    network = make_routed()
    gradients = _gradients(tmp_path, OneWay(), 1, network)
    gradients._group = Counting()
    gradients.add(make_batch(), 0)
    assert summed == [len(list(network.parameters())) + 1]
    assert network.router.weight.grad is not None and not network.router.weight.grad.any()


@pytest.mark.parametrize("objective", [Reconstruction(), Balanced()])
def test_an_objective_travels_to_other_processes(objective: Objective) -> None:
    assert pickle.loads(pickle.dumps(objective)) == objective
