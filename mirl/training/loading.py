"""Brings each step its batch, drawn ahead of time in processes of their own where that is asked for.

Dimensions in names: B images of this process's part of a batch, C channels, H height, W width.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mirl.data.batches import BatchStream
from mirl.training.section import MachineSection
from mirl.training.world import World

LOADERS_MOST = 8
"""Processes that draw batches for one GPU, unless machine.loaders says otherwise."""

Pair = tuple[Tensor, Tensor]
"""(degraded_BCHW, clean_BCHW), float32."""


@dataclass(frozen=True, kw_only=True)
class Supply(Dataset[Pair]):
    """What a process of a world trains on: item `step` is its part of that step's batch."""

    stream: BatchStream
    batch: int
    """Images of the whole batch."""
    world: World

    def __getitem__(self, step: int) -> Pair:
        drawn = self.stream.samples(self.world.part(step, self.batch))
        return drawn.degraded_BCHW, drawn.clean_BCHW

    @property
    def share(self) -> int:
        """Images of each batch that this process takes."""
        return self.batch // self.world.size

    def images(self, step: int) -> list[str]:
        """Names of the pictures in the whole batch of a step."""
        return self.stream.samples(range(step * self.batch, (step + 1) * self.batch)).images


def batches(supply: Supply, steps: range, machine: MachineSection, device: torch.device) -> Iterator[Pair]:
    """The parts of `steps`, one after the other: the same whatever the number of loaders."""
    gpu = device.type == "cuda"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usual = min(LOADERS_MOST, max(1, cores // supply.world.size - 1)) if gpu else 0
    loaders = usual if machine.loaders is None else machine.loaders
    # Spawned: a fork copies the locks of other threads, such as the one that sends records to MLflow.
    return iter(
        DataLoader(
            supply,
            batch_size=None,
            sampler=steps,
            num_workers=loaders,
            pin_memory=gpu,
            multiprocessing_context="spawn" if loaders else None,
            worker_init_fn=_heed_only_the_trainer,
            generator=torch.Generator(),  # or it would draw from the caller's
        )
    )


def _heed_only_the_trainer(worker: int) -> None:
    """A signal to the whole group is for the trainer, which ends its loaders; they also end when it dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
