"""Stream of training samples: each is a pure function of (seed, part, sample number); a batch is a range of numbers.

Resuming is asking for the next step; a process that trains a part of each batch asks for its own samples only.

Legend: B batch, C 3 colours, H and W the patch's sides, which are larger for clean patches if the task enlarges.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from mirl.config import UserError
from mirl.data.packed import Item, PackedImages
from mirl.data.sections import BatchSection

_SLOTS = 2_000
"""Length of the repeated order of tasks; a multiple of the denominators that people write."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Patches in float32; clean ones are in [0, 1], degraded ones are not clipped if noise was added."""

    degraded_BCHW: Tensor
    clean_BCHW: Tensor
    tasks: list[str]
    images: list[str]
    """Names of the pictures that the patches come from."""

    def split(self, size: int) -> "Iterator[Batch]":
        """Split the batch into pieces of `size` samples; the last piece holds what is left."""
        for first in range(0, len(self.clean_BCHW), size):
            part = slice(first, first + size)
            yield Batch(
                degraded_BCHW=self.degraded_BCHW[part],
                clean_BCHW=self.clean_BCHW[part],
                tasks=self.tasks[part],
                images=self.images[part],
            )

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Apply `change` to the tensors of the batch, for example to move, pin or lay out each of them otherwise."""
        return replace(self, degraded_BCHW=change(self.degraded_BCHW), clean_BCHW=change(self.clean_BCHW))


class BatchStream:
    """Stream of task-balanced batches from the training split."""

    def __init__(self, packed: PackedImages, section: BatchSection, seed: int, part: int = 0) -> None:
        """Set up the stream; streams that differ only in `part` (from 0) have other samples in the same order of tasks.

        If the tasks enlarge by different scales, all samples of a batch are of one task. Raises UserError if a task has
        nothing to train on or is not known, or a picture is smaller than the patch.
        """
        self._packed, self._section, self._seed, self._part = packed, section, seed, part
        section.refuse_unknown(packed.tasks)
        shares = section.balance or dict.fromkeys(packed.tasks, 1.0)
        self._order = task_order({task: share for task, share in shares.items() if share > 0}, _SLOTS)
        self._photographs = packed.photographs("train")
        self._pairs = {task: _pairs(packed, task) for task in shares}
        for task in self._order:
            if not self._pairs[task] and not (self._photographs and packed.tasks[task].training):
                raise UserError(
                    f"{packed.folder} has no training pictures for {task}; add some or set its balance to 0"
                )
        scales = {packed.tasks[task].scale for task in self._order}
        self._samples_a_slot = section.batch if len(scales) > 1 else 1
        for scale in sorted(scales):
            self._refuse_small({task for task in self._order if packed.tasks[task].scale == scale}, scale)

    def __reduce__(self) -> tuple[type[Self], tuple[PackedImages, BatchSection, int, int]]:
        """Pickle the arguments of the stream, so that another process draws the same samples."""
        return type(self), (self._packed, self._section, self._seed, self._part)

    def batch(self, step: int) -> Batch:
        """Return the batch of optimiser step `step` (from 0), whichever batches were asked for before."""
        size = self._section.batch
        return self.samples(range(step * size, (step + 1) * size))

    def samples(self, numbers: Sequence[int]) -> Batch:
        """Return the samples of these numbers (from 0), which are of one batch if tasks enlarge by different scales.

        Patches are cut at random places, flipped and turned by quarter turns. Noise is added in float and NOT clipped.
        """
        tasks = [self._order[number // self._samples_a_slot % len(self._order)] for number in numbers]
        (scale,) = {self._packed.tasks[task].scale for task in tasks}
        side, large = self._section.patch, self._section.patch * scale
        clean_BHWC = np.empty((len(numbers), large, large, 3), np.float32)
        degraded_BHWC = np.empty((len(numbers), side, side, 3), np.float32)
        images = []
        for place, (number, task) in enumerate(zip(numbers, tasks)):
            rng = np.random.default_rng(np.random.SeedSequence([self._seed, number, self._part]))
            clean_BHWC[place], degraded_BHWC[place], image = self._sample(task, rng)
            images.append(image)
        return Batch(
            degraded_BCHW=torch.from_numpy(degraded_BHWC).permute(0, 3, 1, 2),  # channels-last in memory
            clean_BCHW=torch.from_numpy(clean_BHWC).permute(0, 3, 1, 2),
            tasks=tasks,
            images=images,
        )

    def _sample(self, name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
        """Return (clean, degraded, image name) of one patch of the task `name`; float32, height x width x 3."""
        task, pairs, chance = self._packed.tasks[name], self._pairs[name], rng.random()
        scale = task.scale
        synthetic = not pairs or (bool(self._photographs) and chance < self._section.synthetic.get(name, 0.0))
        items = self._photographs if synthetic else pairs
        item = items[int(rng.integers(len(items)))]
        height, width = (side // scale for side in self._packed.image(item.clean).shape[:2])
        window = _Window.draw((height, width), self._section.patch, rng)
        if item.degraded is not None:
            window = window if task.turned else window.upright()
            clean = window.times(scale).cut(self._packed.image(item.clean))
            return clean, window.cut(self._packed.image(item.degraded)), item.image
        window = window.times(scale)
        clean = window.cut(self._packed.image(item.clean))
        depth = None if item.depth is None else window.take(self._packed.image(item.depth))
        assert task.training
        return clean, task.training(clean, rng, depth), item.image

    def _refuse_small(self, tasks: Collection[str], scale: int) -> None:
        side, rows = self._section.patch * scale, self._packed.manifest
        used = (rows["split"] == "train") & (rows["role"] == "clean") & rows["task"].isin({"", *tasks})
        small = rows[used & (rows[["height", "width"]].min(axis=1) < side)]
        if len(small):
            image, height, width = small.iloc[0][["image", "height", "width"]]
            raise UserError(
                f"{image} is {width} x {height}, smaller than the training patch of {side} x {side} "
                f"({len(small)} such pictures); remove them or set a smaller `patch`"
            )


def task_order(shares: Mapping[str, float], slots: int) -> list[str]:
    """Return `slots` tasks in an order that gives each its share, within 1, in any number of slots from the start.

    Among the tasks that are behind their share the next slot goes to the one whose turn is due first (the
    quota method: Balinski and Young, American Mathematical Monthly 82, 1975).
    """
    names = sorted(shares)
    wanted = np.array([shares[name] for name in names]) / sum(shares.values())
    given = np.zeros(len(names))
    order = []
    for slot in range(1, slots + 1):
        due = np.where(given < wanted * slot - 1e-9, (given + 1) / wanted, np.inf)
        following = int(np.argmin(due))
        given[following] += 1
        order.append(names[following])
    return order


def _pairs(packed: PackedImages, task: str) -> list[Item]:
    return [item for item in packed.items("train", task) if item.degraded is not None]


@dataclass(frozen=True)
class _Window:
    """Square part of a picture, with a flip and quarter turns."""

    top: int
    left: int
    side: int
    flip: bool
    quarter_turns: int

    @classmethod
    def draw(cls, shape: tuple[int, ...], side: int, rng: np.random.Generator) -> "_Window":
        top, left = rng.integers(shape[0] - side + 1), rng.integers(shape[1] - side + 1)
        return cls(int(top), int(left), side, bool(rng.integers(2)), int(rng.integers(4)))

    def times(self, scale: int) -> "_Window":
        """Return the window of the same place in a picture that is `scale` times as large."""
        return replace(self, top=self.top * scale, left=self.left * scale, side=self.side * scale)

    def upright(self) -> "_Window":
        """Return the window without quarter turns: it is turned by 0 or 180 degrees only."""
        return _Window(self.top, self.left, self.side, self.flip, self.quarter_turns & 2)

    def take(self, pixels: np.ndarray) -> np.ndarray:
        part = pixels[self.top : self.top + self.side, self.left : self.left + self.side]
        return np.rot90(part[:, ::-1] if self.flip else part, self.quarter_turns)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Cut the window out of uint8 `pixels` and return it as float32 in [0, 1]."""
        cut: np.ndarray = np.multiply(self.take(pixels), np.float32(1 / 255), dtype=np.float32)
        return cut
