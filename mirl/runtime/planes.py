"""Operations on the planes of a tile: padding with zeros, and arithmetic.

`memory` is the scratch of one thread in planes of the grid; a plane is named by its number, or its pixels are given.
"""

from typing import NamedTuple

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.tiles import Grid
from mirl.runtime.vectors import LANES, STRIP, normalise_strip


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
def end(grid: Grid) -> int:
    """Return the number of elements of a plane up to the end of its border."""
    length: int = origin(grid) + (grid.rows + 2 * grid.border) * grid.pitch
    return length


@compiled
def pixels(memory: np.ndarray, grid: Grid, plane: int) -> np.ndarray:
    """Return the pixels of a plane, from the first inside the border to the last."""
    return memory[plane * grid.plane + grid.start :][: inner(grid)]


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
def normalise(memory: np.ndarray, planes: tuple[int, int], channels: int, grid: Grid, norm: Norm) -> None:
    """Normalise each pixel of `channels` planes over its channels, from planes[0] on into those from planes[1] on."""
    read, write = planes[0] * grid.plane, planes[1] * grid.plane
    for done in range(0, end(grid), STRIP):
        normalise_strip(norm, memory, channels, (read + done, write + done, grid.plane))  # type: ignore[call-arg]


@compiled
def add_planes(grid: Grid, memory: np.ndarray, target: int, source: int, count: int) -> None:
    """Add the pixels of `count` planes from `source` on to those of the planes from `target` on."""
    for number in range(count):
        here, there = pixels(memory, grid, target + number), pixels(memory, grid, source + number)
        for t in range(len(here)):
            here[t] += there[t]


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
