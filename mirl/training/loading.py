"""Brings each step its batch, drawn ahead of time in processes of their own where that is asked for.

Dimensions in names: B images of this process's part of a batch, C channels, H height, W width.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mirl.data.batches import BatchStream
from mirl.training.lifeline import heed_only
from mirl.training.section import MachineSection
from mirl.training.world import World

LOADERS_MOST = 8
"""Processes that draw batches for one GPU, unless machine.loaders says otherwise."""
AHEAD = 2
"""Batches that each of them is ahead."""

Pair = tuple[Tensor, Tensor]
"""(degraded_BCHW, clean_BCHW), float32."""
Arrays = tuple[np.ndarray, np.ndarray]
"""The same as BHWC: a tensor would travel between processes through /dev/shm, which containers keep small."""


@dataclass(frozen=True, kw_only=True)
class Supply:
    """What a process of a world trains on: its part of each step's batch."""

    stream: BatchStream
    batch: int
    """Images of the whole batch."""
    world: World

    @property
    def share(self) -> int:
        """Images of each batch that this process takes."""
        return self.batch // self.world.size

    def draw(self, step: int) -> Pair:
        drawn = self.stream.samples(self.world.part(step, self.batch))
        return drawn.degraded_BCHW, drawn.clean_BCHW

    def images(self, step: int) -> list[str]:
        """Names of the pictures in the whole batch of a step."""
        return self.stream.samples(range(step * self.batch, (step + 1) * self.batch)).images


def batches(
    supply: Supply, steps: range, machine: MachineSection, device: torch.device
) -> Generator[Pair, None, None]:
    """The parts of `steps`, one after the other: the same whatever the number of loaders.

    To be closed, which ends them. Raises BrokenProcessPool where one is killed.
    """
    gpu = device.type == "cuda"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usual = min(LOADERS_MOST, max(1, cores // supply.world.size - 1)) if gpu else 0
    loaders = usual if machine.loaders is None else machine.loaders
    for pair in _ahead(supply, steps, loaders) if loaders else map(supply.draw, steps):
        yield (pair[0].pin_memory(), pair[1].pin_memory()) if gpu else pair


def _ahead(supply: Supply, steps: range, loaders: int) -> Iterator[Pair]:
    # Spawned: a fork copies the locks of other threads, such as the one that sends records to MLflow.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(loaders, context, _Loader.begin, (supply, os.getpid()))
    coming: deque[Future[Arrays]] = deque()
    try:
        for step in steps:
            coming.append(pool.submit(_Loader.draw, step))
            if len(coming) > AHEAD * loaders:
                yield _tensors(coming.popleft().result())
        while coming:
            yield _tensors(coming.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)


class _Loader:
    """A process that draws batches; it is given what from once, when it begins."""

    supply: Supply

    @classmethod
    def begin(cls, supply: Supply, trainer: int) -> None:
        heed_only(trainer)
        cls.supply = supply

    @classmethod
    def draw(cls, step: int) -> Arrays:
        degraded_BCHW, clean_BCHW = cls.supply.draw(step)
        return degraded_BCHW.permute(0, 2, 3, 1).numpy(), clean_BCHW.permute(0, 2, 3, 1).numpy()


def _tensors(pair: Arrays) -> Pair:
    degraded_BHWC, clean_BHWC = map(torch.from_numpy, pair)
    return degraded_BHWC.permute(0, 3, 1, 2), clean_BHWC.permute(0, 3, 1, 2)
