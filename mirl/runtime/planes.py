"""Operations on the planes of a tile: loading from the image, padding with zeros, arithmetic, writing back.

`memory` is the scratch of one thread in planes of the grid; a plane is named by its number, or its pixels are given.
`image`, `out` and `residual` are float32 of shape (channels, height, width).
"""

from typing import NamedTuple

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.tiles import Grid
from mirl.runtime.vectors import LANES, LINE, fetch

AHEAD = 2
"""Number of channels prefetched from main memory: a tile's rows are too short for the processor's own prefetching."""


class Norm(NamedTuple):
    """Layer normalisation over the channels of a pixel."""

    gain: np.ndarray
    bias: np.ndarray
    epsilon: float


class Part(NamedTuple):
    """Pixels of an image: rows [top, bottom), columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


class Tiles(NamedTuple):
    """Tiles of a grid that are to be done, all by one sub-network."""

    grid: Grid
    numbers: np.ndarray
    """int64, in the order in which they are done."""
    level: int
    """Number of the sub-network."""


class Tile(NamedTuple):
    """One tile: its position in the image, and the size of the image."""

    grid: Grid
    top: int
    left: int
    height: int
    width: int


@compiled
def inner(grid: Grid) -> int:
    """Return the number of elements from a plane's first pixel inside the border to the last, inclusive."""
    return (grid.rows - 1) * grid.pitch + grid.columns


@compiled
def origin(grid: Grid) -> int:
    """Return the index in a plane at which its border begins."""
    return grid.start - grid.border * (grid.pitch + 1)


@compiled
def pixels(memory: np.ndarray, grid: Grid, plane: int) -> np.ndarray:
    """Return the pixels of a plane, from the first inside the border to the last."""
    return memory[plane * grid.plane + grid.start :][: inner(grid)]


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
def clear_outside(tile: Tile, memory: np.ndarray, plane: int, count: int) -> None:
    """Set pixels outside the image to 0: the padding of the convolution that reads these planes."""
    grid, border, pitch = tile.grid, tile.grid.border, tile.grid.pitch
    before, after = max(border - tile.left, 0), min(tile.width - tile.left + border, pitch)
    above, below = max(border - tile.top, 0), min(tile.height - tile.top + border, grid.rows + 2 * border)
    if before == 0 and after == pitch and above == 0 and below == grid.rows + 2 * border:
        return
    for number in range(count):
        begin = (plane + number) * grid.plane + origin(grid)
        for row in range(grid.rows + 2 * border):
            line, is_outside = begin + row * pitch, row < above or row >= below
            memory[line : line + (pitch if is_outside else before)] = 0
            memory[line + after : line + pitch] = 0


@compiled
def keep_counted(tile: Tile, counted: Part, memory: np.ndarray, plane: int, count: int) -> None:
    """Set pixels that do not count to 0, from the first inner pixel to the end of the vector of the last one."""
    grid = tile.grid
    top, bottom = max(counted.top - tile.top, 0), min(counted.bottom - tile.top, grid.rows)
    left = min(max(counted.left - tile.left, 0), grid.columns)
    right = max(min(counted.right - tile.left, grid.columns), left)
    for number in range(count):
        start = (plane + number) * grid.plane + grid.start
        for row in range(grid.rows):
            line = start + row * grid.pitch
            if top <= row < bottom:
                memory[line : line + left] = 0
                memory[line + right : line + grid.pitch] = 0
            else:
                memory[line : line + grid.pitch] = 0
        memory[start + inner(grid) : start + inner(grid) + LANES] = 0


@compiled
def add_squares(grid: Grid, memory: np.ndarray, plane: int, squares: np.ndarray) -> None:
    """Add to each of `squares` the sum of the squares of a plane's pixels."""
    for number in range(len(squares)):
        total, here = np.float32(0), pixels(memory, grid, plane + number)
        for t in range(len(here)):
            total += here[t] * here[t]
        squares[number] += total


@compiled
def add_sums(grid: Grid, memory: np.ndarray, plane: int, sums: np.ndarray) -> None:
    """Add to each of `sums` the sum of a plane's pixels."""
    for number in range(len(sums)):
        total, here = np.float32(0), pixels(memory, grid, plane + number)
        for t in range(len(here)):
            total += here[t]
        sums[number] += total


@compiled
def multiply_pairs(grid: Grid, memory: np.ndarray, plane: int, pairs: int) -> None:
    """Replace plane j of `pairs` by the product of planes 2 j and 2 j + 1 (SimpleGate)."""
    for pair in range(pairs):
        left, right = (
            pixels(memory, grid, plane + 2 * pair),
            pixels(memory, grid, plane + 2 * pair + 1),
        )
        out = pixels(memory, grid, plane + pair)
        for t in range(len(out)):
            out[t] = left[t] * right[t]


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
def normalise(memory: np.ndarray, channels: int, grid: Grid, norm: Norm, free: int) -> None:
    """Normalise each pixel of the first `channels` planes over its channels; `free` and the next plane are scratch."""
    size = origin(grid) + (grid.rows + 2 * grid.border) * grid.pitch
    mean, spread = memory[free * grid.plane :][:size], memory[(free + 1) * grid.plane :][:size]
    mean[:] = 0
    spread[:] = 0
    for channel in range(channels):
        pixels = memory[channel * grid.plane :][:size]
        for t in range(size):
            mean[t] += pixels[t]
    share = np.float32(1) / np.float32(channels)
    for t in range(size):
        mean[t] *= share
    for channel in range(channels):
        pixels = memory[channel * grid.plane :][:size]
        for t in range(size):
            apart = pixels[t] - mean[t]
            spread[t] += apart * apart
    for t in range(size):
        spread[t] = np.float32(1) / np.sqrt(spread[t] * share + np.float32(norm.epsilon))
    for channel in range(channels):
        pixels = memory[channel * grid.plane :][:size]
        gain, bias = norm.gain[channel], norm.bias[channel]
        for t in range(size):
            pixels[t] = (pixels[t] - mean[t]) * spread[t] * gain + bias


@compiled
def gate_gelu(gate: np.ndarray, value: np.ndarray, out: np.ndarray) -> None:
    """Compute out = value * GELU(gate), the exact form, to a relative error of 2e-6.

    The normal distribution function at x is 1/2 + x P(x^2) / Q(x^2), with P and Q fitted to 3e-8 by reweighted least
    squares over [0, 5.6]; beyond, it is 0 or 1 in float32. Without branch or table the compiler can vectorise the loop.
    """
    for t in range(len(gate)):
        x = max(gate[t], np.float32(-5.6))  # below, GELU is under 1e-7
        z = min(x, np.float32(5.6))
        u = z * z
        p = np.float32(6.525738236e-06) + np.float32(2.170722577e-08) * u
        p = np.float32(1.867746737e-04) + p * u
        p = np.float32(4.785909578e-03) + p * u
        p = np.float32(3.555677350e-02) + p * u
        p = np.float32(3.989421045e-01) + p * u
        q = np.float32(7.968250735e-05) + np.float32(1.180056531e-06) * u
        q = np.float32(1.985287744e-03) + q * u
        q = np.float32(2.963245522e-02) + q * u
        q = np.float32(2.557918149e-01) + q * u
        q = np.float32(1) + q * u
        out[t] = value[t] * x * (np.float32(0.5) + z * p / q)
