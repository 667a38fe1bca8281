"""A training of milliseconds."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mirl.data.batches import Batch
from mirl.data.sections import BatchSection
from mirl.methods.plan import Plan
from mirl.networks import NetworkSection
from mirl.records import NullSink
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.training.context import TrainingContext
from mirl.training.loading import SampleStream
from mirl.training.loop import Trained, train
from mirl.training.section import MachineSection, TrainSection

BATCH = 4


class FakeStream:
    """Samples that are a function of their number, like the real stream; those of one step can be poisoned."""

    def __init__(self, poisoned: int | None = None) -> None:
        self.poisoned = poisoned
        self.asked: list[int] = []
        """The steps whose batches were drawn."""

    def samples(self, numbers: range) -> Batch:
        step = numbers[0] // BATCH
        self.asked.append(step)
        clean_BCHW = torch.stack(
            [torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(n)) for n in numbers]
        )
        degraded_BCHW = clean_BCHW + (math.nan if step == self.poisoned else 0.1)
        return Batch(
            degraded_BCHW=degraded_BCHW,
            clean_BCHW=clean_BCHW,
            tasks=["denoise_25"] * len(numbers),
            images=[f"photo-{n}" for n in numbers],
        )


def make_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 1))


def make_state() -> State:
    return {name: tensor.clone() for name, tensor in make_network().state_dict().items()}


def make_plan(start_step: int = 0, origin: State | None = None, **more: Any) -> Plan:
    keep = torch.rand(6, 3, 3, 3, generator=torch.Generator().manual_seed(1)) > 0.5
    mask = Mask({"0.weight": keep})
    values: dict[str, Any] = {"masks": Masks.one(mask), "start_step": start_step, "origin": origin}
    return Plan(network=NetworkSection(name="nafnet"), state=mask.apply(make_state()), **(values | more))


def make_section(**values: Any) -> TrainSection:
    defaults: dict[str, Any] = {
        "steps": 12,
        "learning_rate": 0.01,
        "record_every": 5,
        "batches": BatchSection(batch=BATCH),
    }
    return TrainSection(**(defaults | values))


def make_context(folder: Path, **more: Any) -> TrainingContext:
    folder.mkdir(exist_ok=True)
    defaults: dict[str, Any] = {
        "sink": NullSink(),
        "machine": MachineSection(threads=1, checkpoint_seconds=1e9),
    }
    return TrainingContext(checkpoint=folder / "checkpoint.safetensors", **(defaults | more))


def train_tiny(
    folder: Path, plan: Plan, section: TrainSection, stream: SampleStream | None = None, **more: Any
) -> Trained:
    """With a checkpoint in `folder`."""
    return train(make_network(), plan, stream or FakeStream(), section, make_context(folder, **more))


def same(ours: State, theirs: State) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
