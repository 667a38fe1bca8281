"""What a tile is told of the image that it is cut from, so that it is restored as a part of that.

A network that looks at the whole of its image (`mirl.networks.whole`) would take a tile for one. So before the tiles, the
network looks at pieces from all over the image, many at a time; what it says of them together is what the tiles are told.

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

from mirl.networks.whole import Spread, Summary, WholeImage
from mirl.restore.tile import SMALLEST, Place, Tiles, cut, grid, smallest

Known = dict[int, Tensor]
"""Number of a `WholeImage` of the network -> its summary of the image, for one image."""
Show = Callable[[Sequence[Place], Known, Known], Any]
"""Shows tiles to the network at once: it is told what is known, and writes down what is found."""

SIDE = 64
"""Of the pieces that are looked at first, pixels: small, so that many together stand for the whole image."""
TIMES = 3
"""How often the image is looked at in tiles then, at most. What is found with little known is not yet what the whole is."""
STEADY = 0.005
"""It is looked at no more when what is found has changed by less, as a share of it."""
ROOM = 0.6
"""Of the pixels that fit at once, those that are looked at: taking together copies what a network asks about."""
MOST_PIXELS = 4 * 10**6
"""That are looked at each time; of a larger image a part stands for the whole."""


def looks(tiles: Tiles, multiple: int, pixels: int) -> list[list[list[Place]]]:
    """Time after time, which pieces of an image are looked at together, where the network takes `pixels` at once."""
    pixels = max(int(ROOM * pixels), smallest(*tiles.size, multiple))
    side = max(min(SIDE, math.isqrt(pixels)) // multiple, SMALLEST) * multiple
    small = spread(grid(*tiles.size, multiple, (side, side), even=True))
    turns = math.ceil(len(small) / max(1, pixels // area(small[0])))
    # Tiles of one size after the other: kernels keep what they prepare for a size.
    large = [[place] for place in sorted(spread(cut(*tiles.size, multiple, pixels)), key=area)]
    return [[small[turn::turns] for turn in range(turns)]] + [large] * TIMES


def spread(tiles: Tiles) -> list[Place]:
    """Of the tiles as many as are looked at, from all over the image, shuffled."""
    places = tiles.places()
    most = max(1, MOST_PIXELS // area(places[0]))
    return [places[i] for i in np.random.default_rng(0).permutation(len(places))[:most]]


def area(place: Place) -> int:
    """Pixels of a tile."""
    row, column = place
    return (row.stop - row.start) * (column.stop - column.start)


def own_area(place: Place) -> int:
    """Pixels that count as this tile's alone."""
    row, column = place
    return (row.core[1] - row.core[0]) * (column.core[1] - column.core[0])


def learn(times: Sequence[Sequence[Sequence[Place]]], show: Show) -> Known:
    """What the network says of the image, after it was shown as `looks` says."""
    known: Known = {}
    for batches in times:
        total: dict[int, Tensor] = {}
        alone = [sum(own_area(place) for place in batch) for batch in batches]
        for batch, pixels in zip(batches, alone):
            found: Known = {}
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
class Look:
    """What the network is looking at: a batch of tiles, and what is known of the image they are from."""

    size: tuple[int, int]
    """Of the image as it is padded, pixels."""
    places: Sequence[Place]
    """One for each tile of the batch."""
    known: Known
    found: Known | None = None
    """Where what is seen is written down: of all tiles together as if they were one image, each pixel counted once."""

    def answer(self, number: int, summary: Summary, x_BChw: Tensor) -> Tensor:
        """What is known of the image, else what is found in these tiles."""
        if self.found is not None:
            self.found[number] = summary(self._together(x_BChw))
        value = self.known[number] if number in self.known else (self.found or {})[number]
        return value.expand(len(x_BChw), *value.shape[1:])

    def spread(self, plane_BPSS: Tensor, x_BChw: Tensor) -> Tensor:
        """Of a plane stretched over the whole image the parts that the tiles see."""
        grids_Bhw2 = []
        for place in self.places:
            axes = [
                2 * (torch.arange(length) + 0.5 + span.start * length / (span.stop - span.start)) / scaled - 1
                for span, length, scaled in zip(place, x_BChw.shape[2:], self._scaled(x_BChw))
            ]
            rows_hw, columns_hw = torch.meshgrid(*axes, indexing="ij")
            grids_Bhw2.append(torch.stack([columns_hw, rows_hw], dim=-1))
        grid_Bhw2 = torch.stack(grids_Bhw2).to(plane_BPSS)
        return F.grid_sample(plane_BPSS, grid_Bhw2, padding_mode="border", align_corners=False)

    def _together(self, x_BChw: Tensor) -> Tensor:
        """The cores of all tiles side by side: 1 x C x 1 x N."""
        pieces = []
        for x_Chw, place in zip(x_BChw, self.places):
            cores = []
            for span, length in zip(place, x_Chw.shape[1:]):
                scale = (span.stop - span.start) // length
                cores.append(slice(span.core[0] // scale, span.core[1] // scale))
            pieces.append(x_Chw[:, cores[0], cores[1]].flatten(1))
        return torch.cat(pieces, dim=1)[None, :, None]

    def _scaled(self, x_BChw: Tensor) -> list[float]:
        """Height and width of the whole image where a tile has those of `x_BChw`."""
        return [
            whole * length / (span.stop - span.start)
            for whole, span, length in zip(self.size, self.places[0], x_BChw.shape[2:])
        ]


class Onlooker:
    """Answers a network's questions about the whole image while it restores tiles; each thread has its own image."""

    def __init__(self, network: nn.Module) -> None:
        self._own = threading.local()
        self.questions = 0
        for module in network.modules():
            if isinstance(module, WholeImage):
                module.register_forward_pre_hook(partial(self._answer, self.questions))
                self.questions += 1
            elif isinstance(module, Spread):
                module.register_forward_hook(self._spread)

    @contextmanager
    def looking(self, look: Look) -> Iterator[None]:
        """Inside, the network is asked about the tiles of `look`."""
        self._own.look = look
        try:
            yield
        finally:
            self._own.look = None

    def _answer(self, number: int, module: nn.Module, inputs: tuple) -> tuple:
        look: Look | None = getattr(self._own, "look", None)
        if look is None:
            return inputs
        answer = look.answer(number, *inputs)
        return (lambda _: answer, inputs[1])  # so that the module does not ask again

    def _spread(self, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        look: Look | None = getattr(self._own, "look", None)
        return output if look is None else look.spread(*inputs)
