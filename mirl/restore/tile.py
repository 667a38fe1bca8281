"""Tiling of an image into overlapping tiles whose seams are blended, so that memory does not grow with the image.

Dims: B batch, C channels, H height, W width; h and w those of one tile.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mirl.restore.pad import round_up

SMALLEST = 3
"""Side of the smallest tile in multiples of the network: one to fade in, one whole, one to fade out."""
OVERLAP = 64
"""Pixels that neighbouring tiles share if there is room; over the middle of them one tile fades into the other."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Pixels [start, stop) that one tile covers along one side of the image."""

    start: int
    stop: int
    fade_in: int
    """Number of pixels, shared with the tile before, over which this one fades in."""
    fade_out: int
    core: tuple[int, int]
    """Pixels [first, last), counted from `start`, that count as this tile's alone; the cores partition the image."""

    def times(self, scale: int) -> "Span":
        """Return the span of the same place in an image that is `scale` times as large."""
        first, last = self.core
        return Span(
            start=self.start * scale, stop=self.stop * scale, fade_in=self.fade_in * scale,
            fade_out=self.fade_out * scale, core=(first * scale, last * scale),
        )  # fmt: skip

    def weight(self) -> Tensor:
        """Compute the blending weights: a ramp up, 1, a ramp down; float64, one per pixel."""
        weight = torch.ones(self.stop - self.start, dtype=torch.float64)
        weight[: self.fade_in] = _ramp(self.fade_in)
        weight[len(weight) - self.fade_out :] = 1 - _ramp(self.fade_out)
        return weight


TilePosition = tuple[Span, Span]
"""(rows, columns) of a tile."""
Run = Callable[[Span, Span], Tensor]
"""(rows, columns) of a tile -> the restored tile, float32 BChw, by the network's scale larger than the tile."""


def whole(length: int, start: int = 0) -> Span:
    """Return the span of `length` pixels from `start` on, which no other tile covers."""
    return Span(start=start, stop=start + length, fade_in=0, fade_out=0, core=(0, length))


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Division of an image into tiles of one size, except for the last; each starts at a multiple of the network's.

    A tile that starts on the network's own grid (its strides and pixel squares) sees the image in the same phase as an
    untiled run does.
    """

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image, padded to the network's multiple, in pixels."""
        row, column = self.rows[-1], self.columns[-1]
        return row.start + row.core[1], column.start + column.core[1]

    def ending_at(self, height: int, width: int) -> "Tiles":
        """Return the same tiles of an image that ends sooner: in the last row and column."""
        return Tiles(rows=_ending_at(self.rows, height), columns=_ending_at(self.columns, width))

    def positions(self) -> list[TilePosition]:
        """List all tiles, row by row."""
        return [(row, column) for row in self.rows for column in self.columns]

    def bands(self, run: Run, size: tuple[int, int], scale: int = 1) -> Iterator[tuple[int, Tensor]]:
        """Yield the restored image of `size` (height, width) from top to bottom as (first row, float32 BCHW of a part).

        A part is overwritten by the next. At each pixel the weights of the tiles add up to one. `scale` is that of `run`;
        `size` is `scale` times that of the image.
        """
        band_BChW = torch.empty(0)
        columns = [column.times(scale) for column in self.columns]
        for small_row in self.rows:
            row = small_row.times(scale)
            for small_column, column in zip(self.columns, columns):
                tile_BChw = run(small_row, small_column)
                if not band_BChW.numel():
                    shape = (*tile_BChw.shape[:3], columns[-1].stop)
                    band_BChW = tile_BChw.new_zeros(shape)
                weighted_BChw = tile_BChw.mul_(row.weight().to(tile_BChw)[:, None])
                weighted_BChw *= column.weight().to(tile_BChw)
                band_BChW[..., : tile_BChw.shape[2], column.start : column.stop] += weighted_BChw
            done = len(row.weight()) - row.fade_out
            yield row.start, band_BChW[..., : min(done, size[0] - row.start), : size[1]]
            band_BChW[..., : row.fade_out, :] = band_BChW[..., done : done + row.fade_out, :]
            band_BChW[..., row.fade_out :, :] = 0


def _ending_at(spans: Sequence[Span], size: int) -> tuple[Span, ...]:
    *others, last = spans
    return (*others, replace(last, stop=size, core=(last.core[0], size - last.start)))


def cut(height: int, width: int, multiple: int, pixels: int) -> Tiles:
    """Divide an image of this size for a network that can take `pixels` at a time.

    The image stays in one piece if it fits when padded to `multiple`; else it is divided into the largest tiles that
    fit, about square. `pixels` must hold the `smallest` tile.
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
    """Divide an image into tiles of at most `tile` = (height, width) pixels, multiples of `multiple`.

    `even` is as in `spans`.
    """
    return Tiles(
        rows=tuple(spans(height, tile[0], multiple, even)),
        columns=tuple(spans(width, tile[1], multiple, even)),
    )


def smallest(height: int, width: int, multiple: int) -> int:
    """Return the pixels of the smallest tile into which an image of this size can be cut."""
    least = SMALLEST * multiple
    return min(round_up(height, multiple), least) * min(round_up(width, multiple), least)


def spans(size: int, tile: int, multiple: int, even: bool = False) -> Iterator[Span]:
    """Yield the tiles of at most `tile` pixels along a side of `size` pixels, of one length except for the last.

    With `even`, the last tile is as long as the others: it then extends over the end, which is not quite what an
    untiled run sees there, but the tiles fit into one batch.

    `tile` is a multiple of `multiple`, and at least SMALLEST times `multiple` if it is below `size`. No pixel lies
    under more than two tiles.
    """
    padded = round_up(size, multiple)
    if padded <= tile:
        yield whole(padded)
        return
    overlap = max(multiple, min(round_up(OVERLAP, multiple), tile // 3 // multiple * multiple))
    count = math.ceil((padded - overlap) / (tile - overlap))
    length = round_up(math.ceil((padded + (count - 1) * overlap) / count), multiple)
    count = math.ceil((padded - overlap) / (length - overlap))  # rounding up may have spared some
    half = overlap // 2 // multiple * multiple
    for index in range(count):
        start, last = index * (length - overlap), index == count - 1
        yield Span(
            start=start,
            stop=start + length if even else min(start + length, padded),
            fade_in=overlap if index else 0,
            fade_out=0 if last else overlap,
            core=(half if index else 0, padded - start if last else length - overlap + half),
        )


def _ramp(length: int) -> Tensor:
    """Compute a ramp: 0 over the first quarter, where the tile sees too little of the image; linear; 1 in the last."""
    blind = length // 4
    return ((torch.arange(length, dtype=torch.float64) + 0.5 - blind) / (length - 2 * blind)).clamp(0, 1)
