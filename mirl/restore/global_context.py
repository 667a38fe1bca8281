"""The global context of a tile: statistics of the image that it is cut from, so that it is restored as a part of that.

A network that takes statistics of its whole image (`mirl.networks.global_statistics`) would take those of a tile. So before
the tiles, pieces from all over the image go through the network, many at a time; their statistics are used in the tiles.

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
"""Passes tiles through the network at once: given the known statistics, it writes down those that it finds."""

SIDE = 64
"""Of the pieces of the first pass, pixels: small, so that many together stand for the whole image."""
PASSES = 3
"""Further passes over the image in tiles, at most. What is found with little known is not yet what the whole is."""
STEADY = 0.005
"""The passes end when the statistics have changed by less, as a share of them."""
ROOM = 0.6
"""Share of the pixels that fit at once that a pass uses: taking statistics over several tiles copies their features."""
MOST_PIXELS = 4 * 10**6
"""Of one pass; of a larger image a part stands for the whole."""


def passes(tiles: Tiles, multiple: int, pixels: int) -> list[list[list[TilePosition]]]:
    """For each pass the batches of tiles that it takes, where the network takes `pixels` at once."""
    pixels = max(int(ROOM * pixels), smallest(*tiles.size, multiple))
    side = max(min(SIDE, math.isqrt(pixels)) // multiple, SMALLEST) * multiple
    small = sample(grid(*tiles.size, multiple, (side, side), even=True))
    turns = math.ceil(len(small) / max(1, pixels // area(small[0])))
    # Tiles of one size after the other: kernels keep what they prepare for a size.
    large = [[position] for position in sorted(sample(cut(*tiles.size, multiple, pixels)), key=area)]
    return [[small[turn::turns] for turn in range(turns)]] + [large] * PASSES


def sample(tiles: Tiles) -> list[TilePosition]:
    """As many of the tiles as a pass takes, from all over the image, shuffled."""
    positions = tiles.positions()
    most = max(1, MOST_PIXELS // area(positions[0]))
    return [positions[i] for i in np.random.default_rng(0).permutation(len(positions))[:most]]


def area(position: TilePosition) -> int:
    """Pixels of a tile."""
    row, column = position
    return (row.stop - row.start) * (column.stop - column.start)


def own_area(position: TilePosition) -> int:
    """Pixels that count as this tile's alone."""
    row, column = position
    return (row.core[1] - row.core[0]) * (column.core[1] - column.core[0])


def gather_statistics(all_passes: Sequence[Sequence[Sequence[TilePosition]]], show: Show) -> Statistics:
    """The network's statistics of the image, after the `passes` over it."""
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
    """What the network is working on: a batch of tiles, and what is known of the image they are from."""

    size: tuple[int, int]
    """Of the image as it is padded, pixels."""
    positions: Sequence[TilePosition]
    """One for each tile of the batch."""
    known: Statistics
    found: Statistics | None = None
    """Takes the statistics that are found: of all tiles together as if they were one image, each pixel counted once."""

    def answer(self, number: int, summary: Summary, x_BChw: Tensor) -> Tensor:
        """What is known of the image, else what is found in these tiles."""
        if self.found is not None:
            self.found[number] = summary(self._together(x_BChw))
        value = self.known[number] if number in self.known else (self.found or {})[number]
        return value.expand(len(x_BChw), *value.shape[1:])

    def stretched(self, plane_BPSS: Tensor, x_BChw: Tensor) -> Tensor:
        """The parts of a plane stretched over the whole image that the tiles cover."""
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
        """The cores of all tiles side by side: 1 x C x 1 x N."""
        pieces = []
        for x_Chw, position in zip(x_BChw, self.positions):
            cores = []
            for span, length in zip(position, x_Chw.shape[1:]):
                scale = (span.stop - span.start) // length
                cores.append(slice(span.core[0] // scale, span.core[1] // scale))
            pieces.append(x_Chw[:, cores[0], cores[1]].flatten(1))
        return torch.cat(pieces, dim=1)[None, :, None]

    def _scaled(self, x_BChw: Tensor) -> list[float]:
        """Height and width of the whole image where a tile has those of `x_BChw`."""
        return [
            whole * length / (span.stop - span.start)
            for whole, span, length in zip(self.size, self.positions[0], x_BChw.shape[2:])
        ]


class GlobalContext:
    """Gives a network the statistics of the whole image while it restores tiles; each thread has its own image."""

    def __init__(self, network: nn.Module) -> None:
        self._own = threading.local()
        self.count = 0
        """How many global statistics the network takes."""
        for module in network.modules():
            if isinstance(module, GlobalStatistic):
                module.register_forward_pre_hook(partial(self._answer, self.count))
                self.count += 1
            elif isinstance(module, StretchedPlane):
                module.register_forward_hook(self._stretched)

    @contextmanager
    def showing(self, context: TileContext) -> Iterator[None]:
        """Inside, the network works on the tiles of `context`."""
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
