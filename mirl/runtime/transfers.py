"""Copying between images and the planes of tiles.

`memory` is the scratch of one thread in planes of the grid. `image`, `out` and `residual` are float32 of shape (channels,
height, width).
"""

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.planes import Tile, origin
from mirl.runtime.tiles import Grid
from mirl.runtime.vectors import LINE, fetch

AHEAD = 2
"""Number of channels prefetched from main memory: a tile's rows are too short for the processor's own prefetching."""


@compiled
def copy(target: np.ndarray, at: int, source: np.ndarray, first: int, count: int) -> None:
    """Copy `count` numbers between 1-D arrays. An index that cannot be negative lets the compiler make vectors."""
    to, begin = np.uintp(at), np.uintp(first)
    for x in range(np.uintp(count)):
        target[to + x] = source[begin + x]


@compiled
def add(target: np.ndarray, at: int, source: np.ndarray, first: int, count: int) -> None:
    """Add `count` numbers of one 1-D array to those of another."""
    to, begin = np.uintp(at), np.uintp(first)
    for x in range(np.uintp(count)):
        target[to + x] += source[begin + x]


@compiled
def fetch_row(image: np.ndarray, first: int, count: int) -> None:
    """Prefetch `count` pixels of a 1-D image from `first` on, up to its end."""
    for x in range(first, min(first + count, len(image)), LINE):
        fetch(image, x)  # type: ignore[call-arg]


@compiled
def load(image: np.ndarray, grid: Grid, number: int, memory: np.ndarray) -> Tile:
    """Copy a tile with its border into the first planes; pixels outside the image are 0."""
    channels, height, width = image.shape
    flat, ahead = image.reshape(-1), AHEAD * height * width
    top, left = number // grid.across * grid.rows, number % grid.across * grid.columns
    begin, end = max(left - grid.border, 0), min(left + grid.columns + grid.border, width)
    covered = begin == left - grid.border and end == begin + grid.pitch
    for channel in range(channels):
        for row in range(grid.rows + 2 * grid.border):
            y, at = top - grid.border + row, channel * grid.plane + origin(grid) + row * grid.pitch
            inside = 0 <= y < height
            if not (covered and inside):
                for x in range(at, at + grid.pitch):
                    memory[x] = 0
            if inside:
                first = (channel * height + y) * width + begin
                fetch_row(flat, first + ahead, end - begin)
                copy(memory, at + begin - left + grid.border, flat, first, end - begin)
    return Tile(grid, top, left, height, width)


@compiled
def store(
    tile: Tile, memory: np.ndarray, which: tuple[int, int, int], out: np.ndarray, residual: np.ndarray
) -> None:
    """Write the inner pixels of planes, `which` = (plane, channel, count), plus `residual` unless that is empty."""
    grid, (plane, channel, count) = tile.grid, which
    area, wide = tile.height * tile.width, min(grid.columns, tile.width - tile.left)
    flat, below = out.reshape(-1), residual.reshape(-1)
    for number in range(count):
        begin = (plane + number) * grid.plane + grid.start
        for row in range(min(grid.rows, tile.height - tile.top)):
            start = begin + row * grid.pitch
            first = (channel + number) * area + (tile.top + row) * tile.width + tile.left
            fetch_row(flat, first + AHEAD * area, wide)
            if len(residual) > 0:
                fetch_row(below, first + AHEAD * area, wide)
                add(memory, start, below, first, wide)
            copy(flat, first, memory, start, wide)


@compiled
def add_image(image: np.ndarray, tile: Tile, memory: np.ndarray, plane: int) -> None:
    """Add each channel of the image to the inner pixels of a plane, from `plane` on."""
    grid, flat = tile.grid, image.reshape(-1)
    area, wide = tile.height * tile.width, min(grid.columns, tile.width - tile.left)
    for channel in range(image.shape[0]):
        begin = (plane + channel) * grid.plane + grid.start
        for row in range(min(grid.rows, tile.height - tile.top)):
            first = channel * area + (tile.top + row) * tile.width + tile.left
            fetch_row(flat, first + AHEAD * area, wide)
            add(memory, begin + row * grid.pitch, flat, first, wide)


@compiled
def load_squares(image: np.ndarray, factor: int, grid: Grid, number: int, memory: np.ndarray) -> Tile:
    """Copy a tile without a border of the image that has each square of `factor` x `factor` pixels as channels."""
    channels, height, width = image.shape[0], image.shape[1] // factor, image.shape[2] // factor
    flat, ahead = image.reshape(-1), AHEAD * image.shape[1] * image.shape[2]
    top, left = number // grid.across * grid.rows, number % grid.across * grid.columns
    wide = min(grid.columns, width - left)
    for channel in range(channels):
        for row in range(min(grid.rows, height - top)):
            for down in range(factor):
                line = (channel * image.shape[1] + (top + row) * factor + down) * image.shape[
                    2
                ] + left * factor
                fetch_row(flat, line + ahead, wide * factor)
                at = (channel * factor + down) * factor * grid.plane + grid.start + row * grid.pitch
                gather(memory, (at, grid.plane), flat, (line, factor), wide)
    return Tile(grid, top, left, height, width)


@compiled
def store_squares(
    tile: Tile,
    memory: np.ndarray,
    which: tuple[int, int, int],
    factor: int,
    out: np.ndarray,
    residual: np.ndarray,
) -> None:
    """Write channels as squares of `factor` x `factor` pixels of one channel, plus `residual` unless that is empty.

    `which` is as in `store`.
    """
    grid, (plane, channel, count) = tile.grid, which
    flat, below, area = out.reshape(-1), residual.reshape(-1), out.shape[1] * out.shape[2]
    wide = min(grid.columns, tile.width - tile.left)
    for number in range(0, count, factor):
        group, down = (channel + number) // factor // factor, (channel + number) // factor % factor
        for row in range(min(grid.rows, tile.height - tile.top)):
            at = (plane + number) * grid.plane + grid.start + row * grid.pitch
            line = group * area + ((tile.top + row) * factor + down) * out.shape[2] + tile.left * factor
            fetch_row(flat, line + AHEAD * area, wide * factor)
            fetch_row(below, line + AHEAD * area, wide * factor)
            scatter(flat, below, (line, factor), memory, (at, grid.plane), wide)


@compiled
def gather(
    target: np.ndarray, at: tuple[int, int], source: np.ndarray, first: tuple[int, int], count: int
) -> None:
    """Copy every f-th number from `first` = (start, f) on to at[0], those after them to at[0] + at[1], and so on."""
    factor, begin = np.uintp(first[1]), np.uintp(first[0])
    if first[1] == 2:  # written out, it is made into vectors
        even, odd = np.uintp(at[0]), np.uintp(at[0] + at[1])
        for x in range(np.uintp(count)):
            target[even + x] = source[begin + np.uintp(2) * x]
            target[odd + x] = source[begin + np.uintp(2) * x + np.uintp(1)]
        return
    for number in range(first[1]):
        to = np.uintp(at[0] + number * at[1])
        for x in range(np.uintp(count)):
            target[to + x] = source[begin + factor * x + np.uintp(number)]


@compiled
def scatter(
    target: np.ndarray,
    plus: np.ndarray,
    first: tuple[int, int],
    source: np.ndarray,
    at: tuple[int, int],
    count: int,
) -> None:
    """Write what `gather` reads: the numbers of `source`, plus those of `plus` at the place unless that is empty."""
    factor, begin = np.uintp(first[1]), np.uintp(first[0])
    if plus.size == 0:
        for number in range(first[1]):
            here = np.uintp(at[0] + number * at[1])
            for x in range(np.uintp(count)):
                target[begin + factor * x + np.uintp(number)] = source[here + x]
        return
    if first[1] == 2:
        even, odd = np.uintp(at[0]), np.uintp(at[0] + at[1])
        for x in range(np.uintp(count)):
            to = begin + np.uintp(2) * x
            target[to] = source[even + x] + plus[to]
            target[to + np.uintp(1)] = source[odd + x] + plus[to + np.uintp(1)]
        return
    for number in range(first[1]):
        here = np.uintp(at[0] + number * at[1])
        for x in range(np.uintp(count)):
            to = begin + factor * x + np.uintp(number)
            target[to] = source[here + x] + plus[to]
