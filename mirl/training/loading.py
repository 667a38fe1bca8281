"""Loading of each step's batch, if requested ahead of time in separate processes.

Dimensions in names: B images of this process's part of a batch, C channels, H height, W width.
"""

import multiprocessing
import os
import traceback
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Protocol, Self

import torch
from torch import Tensor

from mirl import terminal
from mirl.config import UserError
from mirl.data.batches import Batch
from mirl.training.parent_process import end_only_with_parent
from mirl.training.process_group import ProcessGroup
from mirl.training.section import MachineSection

LOADERS_MOST = 8
"""Largest number of processes that draw batches for one GPU, unless machine.loaders is set."""


class SampleStream(Protocol):
    """Stream of samples from which batches are drawn."""

    def samples(self, numbers: range) -> Batch:
        """Return the samples with these numbers; the result depends on the numbers alone."""
        ...


@dataclass(frozen=True, kw_only=True)
class BatchSource:
    """Source of the part of each step's batch on which one process of a group trains."""

    stream: SampleStream
    batch: int
    """Number of images in the whole batch."""
    group: ProcessGroup

    @property
    def share(self) -> int:
        """Number of images of each batch that this process takes."""
        return self.batch // self.group.size

    def draw(self, step: int) -> Batch:
        return self.stream.samples(self.group.shard(step, self.batch))

    def images(self, step: int) -> list[str]:
        """Return the names of the images in the whole batch of a step."""
        return self.stream.samples(range(step * self.batch, (step + 1) * self.batch)).images


def batches(
    source: BatchSource, steps: range, machine: MachineSection, device: torch.device
) -> Generator[Batch, None, None]:
    """Yield this process's part of the batch of each of `steps`; the result does not depend on the number of loaders.

    Close the generator to end the loaders. Raises LoaderKilled if one of them is killed.
    """
    gpu = device.type == "cuda"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usual = min(LOADERS_MOST, max(1, cores // source.group.size - 1)) if gpu else 0
    loaders = usual if machine.loaders is None else machine.loaders
    if loaders:
        yield from _ahead(source, steps, loaders, gpu)
    else:
        yield from (_ready(source.draw(step), gpu) for step in steps)


def _ahead(source: BatchSource, steps: range, loaders: int, gpu: bool) -> Iterator[Batch]:
    """Yield batches drawn ahead: during training on one, a thread receives the next, and each loader draws one more."""
    with ThreadPoolExecutor(1, "batches") as thread, _begun(source, steps, loaders) as running:
        coming: deque[Future[Batch]] = deque()
        for number in range(len(steps)):
            coming.append(thread.submit(running[number % len(running)].take, gpu))
            if len(coming) > 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


@contextmanager
def _begun(source: BatchSource, steps: range, loaders: int) -> Iterator[list["_Loader"]]:
    running: list[_Loader] = []
    try:
        running.extend(_Loader.begin(source, steps[n::loaders]) for n in range(min(loaders, len(steps))))
        yield running
    finally:
        for loader in running:
            loader.end()


class LoaderKilled(Exception):
    """Error raised if a process that draws batches was killed, as Linux does when memory runs out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Loader:
    """Process that draws batches, one ahead of those that were taken.

    Each has a pipe of its own: if it is killed in the middle of a batch the pipe ends, and nobody waits for the rest.
    """

    process: BaseProcess
    link: Connection

    @classmethod
    def begin(cls, source: BatchSource, steps: range) -> Self:
        # Spawned: a fork copies the locks of other threads, such as the one that sends records to MLflow.
        context = multiprocessing.get_context("spawn")
        link, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_draw, args=(source, steps, theirs, os.getpid()), name="loader")
        process.start()
        theirs.close()
        return cls(process=process, link=link)

    def take(self, gpu: bool) -> Batch:
        """Wait for the loader's next batch and return it.

        Raises the loader's UserError, LoaderKilled if it was killed, and RuntimeError for any other failure.
        """
        try:
            said = self.link.recv()
        except (EOFError, OSError):
            self.process.join()
            if (self.process.exitcode or 0) < 0:
                raise LoaderKilled from None
            raise RuntimeError("a process that draws batches did not begin; it has said above why") from None
        if isinstance(said, UserError):
            raise said
        if isinstance(said, str):
            raise RuntimeError(f"a process that draws batches failed:\n{said}")
        degraded_BHWC, clean_BHWC, tasks, images = said
        drawn = Batch(
            degraded_BCHW=torch.from_numpy(degraded_BHWC).permute(0, 3, 1, 2),
            clean_BCHW=torch.from_numpy(clean_BHWC).permute(0, 3, 1, 2),
            tasks=tasks,
            images=images,
        )
        return _ready(drawn, gpu)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.link.close()


def _draw(source: BatchSource, steps: range, link: Connection, trainer: int) -> None:
    """Run a loader: send its batches, and, if it fails, a UserError or a traceback at the end."""
    terminal.guard()
    end_only_with_parent(trainer)
    try:
        for step in steps:
            drawn = source.draw(step)
            # as arrays: tensors would travel through /dev/shm, which containers keep small
            arrays = (x.permute(0, 2, 3, 1).numpy() for x in (drawn.degraded_BCHW, drawn.clean_BCHW))
            link.send((*arrays, drawn.tasks, drawn.images))
    except UserError as error:
        link.send(error)
    except Exception:
        link.send(traceback.format_exc())


def _ready(batch: Batch, gpu: bool) -> Batch:
    """Move a batch to pinned memory if `gpu`, from which a GPU can copy while it computes."""
    return batch.map(Tensor.pin_memory) if gpu else batch
