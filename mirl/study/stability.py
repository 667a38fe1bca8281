"""Stability test: finds the step from which a network is stable to the order of its samples (1912.05671).

A network can be rewound to a step from which it is stable.

Two copies are trained from one state on different samples. If the loss on the straight line between their ends stays
low, both have ended in the same valley: training before that state determines where training ends, and a ticket that is
rewound to that state reaches the same valley again.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from mirl import networks
from mirl.config import Stopped, UserError, fingerprint, non_default_values
from mirl.data.batches import Batch, BatchStream
from mirl.data.packed import PackedImages
from mirl.methods.plan import Plan, StoppingRule, copied
from mirl.records import NullSink
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.study.study import Study
from mirl.training.context import TrainingContext
from mirl.training.device import device_of, reproducibly
from mirl.training.launch import train

POINTS = 11
"""Number of points on the line at which the loss is computed, both ends included."""
BATCHES = 32
"""Number of batches over which the loss is averaged, of samples on which no copy was trained."""
COMMON, COPIES, UNSEEN = 0, (1, 2), 3
"""Parts of the stream of samples: for training up to the state, for the two copies, and for the line."""


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Result for two copies that were trained apart from `step` on."""

    step: int
    losses: Sequence[float]
    """Mean absolute errors at POINTS states on the line from one copy's end to the other's."""

    @property
    def instability(self) -> float:
        """Relative excess of the highest loss on the line over the mean of the losses at both ends."""
        ends = (self.losses[0] + self.losses[-1]) / 2
        return max(self.losses) / ends - 1


@dataclass(frozen=True)
class _StopAfter(StoppingRule):
    """Stopping rule that ends a training after `every_steps` steps."""

    every_steps: int

    def check(self, weights: State, seen: State) -> tuple[State, bool]:
        return seen, True


def stabilities(study: Study, steps: Sequence[int]) -> Iterator[Stability]:
    """Test the stability of the study's dense network at each of `steps`; after a kill, another call resumes.

    Takes two whole trainings for each step, less the steps before it. Raises UserError if a step is outside of the
    schedule.
    """
    last = study.params.train.steps
    if wrong := [step for step in steps if not 0 <= step < last]:
        raise UserError(f"step {wrong[0]} is outside of the schedule; expected 0 to {last - 1}")
    packed, marks = PackedImages(study.files.prepared), []
    for step in steps:
        network = networks.build(study.params.network)
        start = copied(network.state_dict())
        masks = Masks.one(Mask.full(networks.prunable(network, study.params.network.prune_prompts)))
        whole = Plan(network=study.params.network, state=start, masks=masks, start_step=0)
        if step:
            way = replace(whole, stopping_rule=_StopAfter(step))
            start, mark = _trained(study, packed, way, COMMON)
            marks.append(mark)
        ends = []
        for part in COPIES:
            plan = replace(whole, state=copied(start), start_step=step, origin=start)
            end, mark = _trained(study, packed, plan, part)
            ends.append(end)
            marks.append(mark)
        stream = BatchStream(packed, study.params.train.batches, study.params.train.seed, UNSEEN)
        device = device_of(study.params.machine)
        network.to(device)
        with reproducibly(study.params.machine, device):
            unseen = [stream.batch(number) for number in range(BATCHES)]
            losses = line(network, ends[0], ends[1], unseen, study.should_stop)
        yield Stability(step=step, losses=losses)
    for mark in marks:
        shutil.rmtree(study.files.checkpoint(mark).parent, ignore_errors=True)


@torch.no_grad()
def line(
    network: nn.Module, first: State, second: State, batches: Sequence[Batch], should_stop: Callable[[], bool]
) -> list[float]:
    """Compute the mean absolute error at POINTS states on the straight line from `first` to `second`.

    Raises Stopped if `should_stop` asks for it.
    """
    losses = []
    for place in torch.linspace(0, 1, POINTS).tolist():
        if should_stop():
            raise Stopped("stopped between the ends of two copies; run it again to go on")
        network.load_state_dict({name: torch.lerp(first[name], second[name], place) for name in first})
        losses.append(sum(_error(network, batch) for batch in batches) / len(batches))
    return losses


def _error(network: nn.Module, batch: Batch) -> float:
    """Compute the mean absolute error image by image: one image fits into any memory that can train the network."""
    device = next(network.parameters()).device
    pairs = zip(batch.degraded_BCHW.split(1), batch.clean_BCHW.split(1))
    errors = [
        nn.functional.l1_loss(network(degraded.to(device)), clean.to(device)) for degraded, clean in pairs
    ]
    return float(torch.stack(errors).mean())


def _trained(study: Study, packed: PackedImages, plan: Plan, part: int) -> tuple[State, str]:
    """Train a plan; return (the state at the end, the fingerprint of its checkpoint)."""
    section = study.params.train
    until = plan.stopping_rule.every_steps if isinstance(plan.stopping_rule, _StopAfter) else section.steps
    told = {"train": non_default_values(section), "network": non_default_values(study.params.network)}
    mark = fingerprint(told | {"stability": [plan.start_step, until, part]}, {"data": packed.digest})
    title = f"to step {until}" if part == COMMON else f"copy {part} from step {plan.start_step}"
    context = TrainingContext(
        checkpoint=study.files.checkpoint(mark),
        sink=NullSink(),
        should_stop=study.should_stop,
        title=title,
        machine=study.params.machine,
    )
    stream = BatchStream(packed, section.batches, section.seed, part)
    return train(networks.build(study.params.network), plan, stream, section, context).weights, mark
