"""Running an image in overlapping tiles whose seams are blended, so that memory does not grow with the image.

Dims: B batch, C channels, H height, W width; h and w those of one tile.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mirl.restore.pad import round_up

Run = Callable[[Tensor], Tensor]
"""Restores one tile: BCHW of any size in, float32 of the same shape out."""
Tiler = Callable[[Run, Tensor], Tensor]
"""Restores a whole image with a `Run`."""

SMALLEST = 3
"""Sides of the smallest tile, in the network's multiple: one to fade in, one whole, one to fade out."""
OVERLAP = 32
"""Pixels that neighbouring tiles share where there is room; over their middle one fades into the other."""


def untiled(run: Run, x_BCHW: Tensor) -> Tensor:
    """The whole image at once."""
    return run(x_BCHW)


def tiler(height: int, width: int, multiple: int, pixels: int) -> Tiler:
    """How an image of this size is restored where the network can take `pixels` at a time.

    Untiled where it fits as it is padded to `multiple`, else in the largest tiles that fit, about square.
    `pixels` must hold the `smallest` tile.
    """
    assert pixels >= smallest(height, width, multiple), f"{pixels} pixels do not hold one tile"
    high, wide, least = round_up(height, multiple), round_up(width, multiple), SMALLEST * multiple
    if high * wide <= pixels:
        return untiled
    tile_height = min(high, max(least, math.isqrt(pixels) // multiple * multiple))
    tile_width = min(wide, max(least, pixels // tile_height // multiple * multiple))
    tile_height = min(high, max(least, pixels // tile_width // multiple * multiple))
    return Tiled(height=tile_height, width=tile_width, multiple=multiple)


def smallest(height: int, width: int, multiple: int) -> int:
    """Pixels of the smallest tile that an image of this size can be cut into."""
    least = SMALLEST * multiple
    return min(round_up(height, multiple), least) * min(round_up(width, multiple), least)


@dataclass(frozen=True, kw_only=True)
class Tiled:
    """Tiles of at most `height` x `width` pixels, evenly spread; each starts at a multiple of the network's.

    A tile that starts where the network's own grid (its strides and pixel squares) would lie anyway sees the
    image in the same phase as an untiled run does: only what lies beyond its border, and what the network
    averages over the whole image, is missing.
    """

    height: int
    width: int
    multiple: int

    def __call__(self, run: Run, x_BCHW: Tensor) -> Tensor:
        """`x_BCHW` restored, float32: over each pixel the weights of its tiles add up to one."""
        rows = list(spans(x_BCHW.shape[2], self.height, self.multiple))
        columns = list(spans(x_BCHW.shape[3], self.width, self.multiple))
        out_BCHW = torch.zeros(x_BCHW.shape, dtype=torch.float32, device=x_BCHW.device)
        for row in rows:
            for column in columns:
                place = (..., slice(row.start, row.stop), slice(column.start, column.stop))
                tile_BChw = run(x_BCHW[place])
                tile_BChw = tile_BChw * row.weight().to(tile_BChw)[:, None] * column.weight().to(tile_BChw)
                out_BCHW[place] += tile_BChw
        return out_BCHW


@dataclass(frozen=True, kw_only=True)
class Span:
    """Pixels [start, stop) of one side that one tile covers, and over how many it fades in and out."""

    start: int
    stop: int
    fade_in: int
    fade_out: int

    def weight(self) -> Tensor:
        """Ramps up and down, 1 between: float64, one per pixel."""
        weight = torch.ones(self.stop - self.start, dtype=torch.float64)
        weight[: self.fade_in] = _ramp(self.fade_in)
        weight[len(weight) - self.fade_out :] = 1 - _ramp(self.fade_out)
        return weight


def spans(size: int, tile: int, multiple: int) -> Iterator[Span]:
    """The tiles of at most `tile` pixels along a side of `size` pixels, of nearly equal length.

    `tile` is a multiple of `multiple`, at least SMALLEST of them where it is below `size`. No pixel lies
    under more than two tiles.
    """
    if size <= tile:
        yield Span(start=0, stop=size, fade_in=0, fade_out=0)
        return
    overlap = max(multiple, min(round_up(OVERLAP, multiple), tile // 3 // multiple * multiple))
    count = math.ceil((size - overlap) / (tile - overlap))
    stride = max(round_up(math.ceil((size - overlap) / count), multiple), overlap)
    count = math.ceil((size - overlap) / stride)
    for index in range(count):
        start, last = index * stride, index == count - 1
        yield Span(
            start=start,
            stop=size if last else start + stride + overlap,
            fade_in=overlap if index else 0,
            fade_out=0 if last else overlap,
        )


def _ramp(length: int) -> Tensor:
    """0 over the first quarter, where the tile does not see enough of the image; linear; 1 over the last."""
    blind = length // 4
    return ((torch.arange(length, dtype=torch.float64) + 0.5 - blind) / (length - 2 * blind)).clamp(0, 1)
