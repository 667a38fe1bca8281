"""Global context of a tile: statistics of the whole image, with which each tile is restored as a part of that image.

A network that takes statistics of its whole input (`mirl.networks.global_statistics`) would take the statistics of a
tile. So pieces from all over the image go through the network first, many at a time; the tiles use their statistics.

Dims: B batch, C channels, H height, W width, P channels of a prompt, S its side, N pixels; h and w those of a tile.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mirl.networks.global_statistics import GlobalStatistic, StretchedPlane, Summary
from mirl.restore.tile import SMALLEST, TilePosition, Tiles, cut, grid, smallest

Statistics = dict[int, Tensor]
"""Number of a `GlobalStatistic` of the network -> its value for one image."""
Show = Callable[[Sequence[TilePosition], Statistics, Statistics], Any]
"""(tiles, known statistics, found statistics) -> runs the tiles through the network as a batch, and fills the last."""

SIDE = 64
"""Side of the pieces of the first pass in pixels: small, so that many together represent the whole image."""
PASSES = 3
"""Largest number of further passes, in tiles: statistics found by the first pass are not yet those of the whole."""
STEADY = 0.005
"""Relative change of the statistics below which the passes end."""
ROOM = 0.6
"""Share of the pixels that fit at once that a pass uses: statistics over several tiles take a copy of the features."""
MOST_PIXELS = 4 * 10**6
"""Largest number of pixels in one pass; a larger image is represented by a part."""


def passes(tiles: Tiles, multiple: int, pixels: int) -> list[list[list[TilePosition]]]:
    """List the batches of tiles of each pass, for a network that takes `pixels` at once."""
    pixels = max(int(ROOM * pixels), smallest(*tiles.size, multiple))
    side = max(min(SIDE, math.isqrt(pixels)) // multiple, SMALLEST) * multiple
    small = sample(grid(*tiles.size, multiple, (side, side), even=True))
    turns = math.ceil(len(small) / max(1, pixels // area(small[0])))
    # Tiles of one size after the other: kernels keep what they prepare for a size.
    large = [[position] for position in sorted(sample(cut(*tiles.size, multiple, pixels)), key=area)]
    return [[small[turn::turns] for turn in range(turns)]] + [large] * PASSES


def sample(tiles: Tiles) -> list[TilePosition]:
    """Choose as many tiles as a pass takes, from all over the image, shuffled."""
    positions = tiles.positions()
    most = max(1, MOST_PIXELS // area(positions[0]))
    return [positions[i] for i in np.random.default_rng(0).permutation(len(positions))[:most]]


def area(position: TilePosition) -> int:
    """Return the number of pixels of a tile."""
    row, column = position
    return (row.stop - row.start) * (column.stop - column.start)


def own_area(position: TilePosition) -> int:
    """Return the number of pixels in the core of a tile, which no other tile counts."""
    row, column = position
    return (row.core[1] - row.core[0]) * (column.core[1] - column.core[0])


def gather_statistics(all_passes: Sequence[Sequence[Sequence[TilePosition]]], show: Show) -> Statistics:
    """Compute the network's statistics of an image by `passes` over it."""
    known: Statistics = {}
    for batches in all_passes:
        total: dict[int, Tensor] = {}
        alone = [sum(own_area(position) for position in batch) for batch in batches]
        for batch, pixels in zip(batches, alone):
            found: Statistics = {}
            show(batch, known, found)
            for number, value in found.items():
                total[number] = total.get(number, 0) + value * (pixels / sum(alone))
        steady = bool(known) and all(_change(known[number], total[number]) < STEADY for number in total)
        known = total
        if steady:
            break
    return known


def _change(before: Tensor, after: Tensor) -> float:
    return float((after - before).norm() / after.norm().clamp(min=1e-12))


@dataclass(frozen=True, kw_only=True)
class TileContext:
    """Batch of tiles that the network works on, and the known statistics of the image that they are cut from."""

    size: tuple[int, int]
    """Height and width of the padded image in pixels."""
    positions: Sequence[TilePosition]
    """Positions of the tiles of the batch."""
    known: Statistics
    found: Statistics | None = None
    """Filled with the statistics of all tiles together as if they were one image, each pixel counted once; or None."""

    def answer(self, number: int, summary: Summary, x_BChw: Tensor) -> Tensor:
        """Return the statistic of the whole image if it is known, else that of these tiles."""
        if self.found is not None:
            self.found[number] = summary(self._together(x_BChw))
        value = self.known[number] if number in self.known else (self.found or {})[number]
        return value.expand(len(x_BChw), *value.shape[1:])

    def stretched(self, plane_BPSS: Tensor, x_BChw: Tensor) -> Tensor:
        """Return the parts, covered by the tiles, of a plane that is stretched over the whole image."""
        grids_Bhw2 = []
        for position in self.positions:
            axes = [
                2 * (torch.arange(length) + 0.5 + span.start * length / (span.stop - span.start)) / scaled - 1
                for span, length, scaled in zip(position, x_BChw.shape[2:], self._scaled(x_BChw))
            ]
            rows_hw, columns_hw = torch.meshgrid(*axes, indexing="ij")
            grids_Bhw2.append(torch.stack([columns_hw, rows_hw], dim=-1))
        grid_Bhw2 = torch.stack(grids_Bhw2).to(plane_BPSS)
        return F.grid_sample(plane_BPSS, grid_Bhw2, padding_mode="border", align_corners=False)

    def _together(self, x_BChw: Tensor) -> Tensor:
        """Join the cores of all tiles side by side: 1 x C x 1 x N."""
        pieces = []
        for x_Chw, position in zip(x_BChw, self.positions):
            cores = []
            for span, length in zip(position, x_Chw.shape[1:]):
                scale = (span.stop - span.start) // length
                cores.append(slice(span.core[0] // scale, span.core[1] // scale))
            pieces.append(x_Chw[:, cores[0], cores[1]].flatten(1))
        return torch.cat(pieces, dim=1)[None, :, None]

    def _scaled(self, x_BChw: Tensor) -> list[float]:
        """Return the height and width of the whole image at the scale of the features `x_BChw`."""
        return [
            whole * length / (span.stop - span.start)
            for whole, span, length in zip(self.size, self.positions[0], x_BChw.shape[2:])
        ]


class GlobalContext:
    """Hooks that give a network the statistics of the whole image while it restores tiles; one image per thread."""

    def __init__(self, network: nn.Module) -> None:
        self._own = threading.local()
        self.count = 0
        """Number of global statistics that the network takes."""
        for module in network.modules():
            if isinstance(module, GlobalStatistic):
                module.register_forward_pre_hook(partial(self._answer, self.count))
                self.count += 1
            elif isinstance(module, StretchedPlane):
                module.register_forward_hook(self._stretched)

    @contextmanager
    def showing(self, context: TileContext) -> Iterator[None]:
        """Let the network work on the tiles of `context` within the block."""
        self._own.context = context
        try:
            yield
        finally:
            self._own.context = None

    def _answer(self, number: int, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        context: TileContext | None = getattr(self._own, "context", None)
        if context is None:
            return inputs
        answer = context.answer(number, *inputs)
        return (lambda _: answer, inputs[1])  # so that the module does not compute it again

    def _stretched(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        context: TileContext | None = getattr(self._own, "context", None)
        return output if context is None else context.stretched(*inputs)
