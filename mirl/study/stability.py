"""When a network has become stable to the order of its samples: from there on it can be rewound to (1912.05671).

Two copies are trained from one state on different samples. Where the loss on the straight line between their ends stays
low, both have ended in the same valley: what was decided before that state decides where training ends, and a ticket
that is rewound to it finds the way again.
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
"""Places on the line at which the loss is taken, both ends among them."""
BATCHES = 32
"""Batches that it is the mean over, of samples that no copy was trained on."""
COMMON, COPIES, UNSEEN = 0, (1, 2), 3
"""Parts of the stream of samples: of the way to the state, of the two copies, and of the line."""


@dataclass(frozen=True, kw_only=True)
class Stability:
    """What came of two copies that parted at `step`."""

    step: int
    losses: Sequence[float]
    """Mean absolute errors at POINTS states from one copy's end to the other's."""

    @property
    def instability(self) -> float:
        """How far the highest loss on the line lies above the mean of both ends, as a share of that."""
        ends = (self.losses[0] + self.losses[-1]) / 2
        return max(self.losses) / ends - 1


@dataclass(frozen=True)
class _StopAfter(StoppingRule):
    """Ends a training after that many steps."""

    every_steps: int

    def check(self, weights: State, seen: State) -> tuple[State, bool]:
        return seen, True


def stabilities(study: Study, steps: Sequence[int]) -> Iterator[Stability]:
    """Of the study's dense network at each of `steps`; killed and called again, it goes on.

    Two whole trainings a step, less the steps before. UserError for a step outside of the schedule.
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
    """Mean absolute error at POINTS states on the straight line from `first` to `second`; Stopped when that is asked for."""
    losses = []
    for place in torch.linspace(0, 1, POINTS).tolist():
        if should_stop():
            raise Stopped("stopped between the ends of two copies; run it again to go on")
        network.load_state_dict({name: torch.lerp(first[name], second[name], place) for name in first})
        losses.append(sum(_error(network, batch) for batch in batches) / len(batches))
    return losses


def _error(network: nn.Module, batch: Batch) -> float:
    """Mean absolute error, image by image: one fits into every memory that trains the network."""
    device = next(network.parameters()).device
    pairs = zip(batch.degraded_BCHW.split(1), batch.clean_BCHW.split(1))
    errors = [
        nn.functional.l1_loss(network(degraded.to(device)), clean.to(device)) for degraded, clean in pairs
    ]
    return float(torch.stack(errors).mean())


def _trained(study: Study, packed: PackedImages, plan: Plan, part: int) -> tuple[State, str]:
    """(the state at the end, the fingerprint of its checkpoint)."""
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
