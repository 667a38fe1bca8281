"""Running an image in overlapping tiles whose seams are blended, so that memory does not grow with the image.

Dims: B batch, C channels, H height, W width; h and w those of one tile.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mirl.restore.pad import round_up

SMALLEST = 3
"""Sides of the smallest tile, in the network's multiple: one to fade in, one whole, one to fade out."""
OVERLAP = 64
"""Pixels that neighbouring tiles share where there is room; over their middle one fades into the other."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Pixels [start, stop) of one side that one tile covers."""

    start: int
    stop: int
    fade_in: int
    """Pixels that the tile before covers too, over which this one fades in."""
    fade_out: int
    core: tuple[int, int]
    """Pixels [first, last) that count as this tile's alone, counted from `start`; those of all tiles are the image."""

    def weight(self) -> Tensor:
        """Ramps up and down, 1 between: float64, one per pixel."""
        weight = torch.ones(self.stop - self.start, dtype=torch.float64)
        weight[: self.fade_in] = _ramp(self.fade_in)
        weight[len(weight) - self.fade_out :] = 1 - _ramp(self.fade_out)
        return weight


TilePosition = tuple[Span, Span]
"""Rows and columns of a tile."""
Run = Callable[[Span, Span], Tensor]
"""Restores the tile of these rows and columns: float32 BChw."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How an image is cut: tiles of one size but for the last ones, each of which starts at a multiple of the network's.

    A tile that starts where the network's own grid (its strides and pixel squares) would lie anyway sees the image in the
    same phase as the whole does.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image, as it is padded to the network's multiple."""
        row, column = self.rows[-1], self.columns[-1]
        return row.start + row.core[1], column.start + column.core[1]

    def positions(self) -> list[TilePosition]:
        """All tiles, row by row."""
        return [(row, column) for row in self.rows for column in self.columns]

    def bands(self, run: Run, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
        """The restored image of `size` (height, width) from top to bottom: (first row, float32 BCHW of a part).

        A part is overwritten by the next. Over each pixel the weights of its tiles add up to one.
        """
        band_BChW = torch.empty(0)
        for row in self.rows:
            for column in self.columns:
                tile_BChw = run(row, column)
                if not band_BChW.numel():
                    shape = (*tile_BChw.shape[:3], self.columns[-1].stop)
                    band_BChW = tile_BChw.new_zeros(shape)
                weighted_BChw = tile_BChw.mul_(row.weight().to(tile_BChw)[:, None])
                weighted_BChw *= column.weight().to(tile_BChw)
                band_BChW[..., : tile_BChw.shape[2], column.start : column.stop] += weighted_BChw
            done = len(row.weight()) - row.fade_out
            yield row.start, band_BChW[..., : min(done, size[0] - row.start), : size[1]]
            band_BChW[..., : row.fade_out, :] = band_BChW[..., done : done + row.fade_out, :]
            band_BChW[..., row.fade_out :, :] = 0


def cut(height: int, width: int, multiple: int, pixels: int) -> Tiles:
    """How an image of this size is restored where the network can take `pixels` at a time.

    In one piece where it fits as it is padded to `multiple`, else in the largest tiles that fit, about square.
    `pixels` must hold the `smallest` tile.
    """
    assert pixels >= smallest(height, width, multiple), f"{pixels} pixels do not hold one tile"
    high, wide, least = round_up(height, multiple), round_up(width, multiple), SMALLEST * multiple
    if high * wide <= pixels:
        return grid(height, width, multiple, (high, wide))
    tile_height = min(high, max(least, math.isqrt(pixels) // multiple * multiple))
    tile_width = min(wide, max(least, pixels // tile_height // multiple * multiple))
    tile_height = min(high, max(least, pixels // tile_width // multiple * multiple))
    return grid(height, width, multiple, (tile_height, tile_width))


def grid(height: int, width: int, multiple: int, tile: tuple[int, int], even: bool = False) -> Tiles:
    """Tiles of at most `tile` = (height, width) pixels, multiples of `multiple`; `even`: as `spans` has it."""
    return Tiles(
        rows=tuple(spans(height, tile[0], multiple, even)),
        columns=tuple(spans(width, tile[1], multiple, even)),
    )


def smallest(height: int, width: int, multiple: int) -> int:
    """Pixels of the smallest tile that an image of this size can be cut into."""
    least = SMALLEST * multiple
    return min(round_up(height, multiple), least) * min(round_up(width, multiple), least)


def spans(size: int, tile: int, multiple: int, even: bool = False) -> Iterator[Span]:
    """The tiles of at most `tile` pixels along a side of `size` pixels, of one length but for the last.

    That one is as long too if they shall be `even`: then it hangs over the end, which is not quite what an untiled run
    sees there, but the tiles fit into one batch.

    `tile` is a multiple of `multiple`, at least SMALLEST of them where it is below `size`. No pixel lies
    under more than two tiles.
    """
    whole = round_up(size, multiple)
    if whole <= tile:
        yield Span(start=0, stop=whole, fade_in=0, fade_out=0, core=(0, whole))
        return
    overlap = max(multiple, min(round_up(OVERLAP, multiple), tile // 3 // multiple * multiple))
    count = math.ceil((whole - overlap) / (tile - overlap))
    length = round_up(math.ceil((whole + (count - 1) * overlap) / count), multiple)
    count = math.ceil((whole - overlap) / (length - overlap))  # rounding up may have spared some
    half = overlap // 2 // multiple * multiple
    for index in range(count):
        start, last = index * (length - overlap), index == count - 1
        yield Span(
            start=start,
            stop=start + length if even else min(start + length, whole),
            fade_in=overlap if index else 0,
            fade_out=0 if last else overlap,
            core=(half if index else 0, whole - start if last else length - overlap + half),
        )


def _ramp(length: int) -> Tensor:
    """0 over the first quarter, where the tile does not see enough of the image; linear; 1 over the last."""
    blind = length // 4
    return ((torch.arange(length, dtype=torch.float64) + 0.5 - blind) / (length - 2 * blind)).clamp(0, 1)
