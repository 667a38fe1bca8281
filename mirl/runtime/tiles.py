"""Tiles: pieces of an image that fit a core's cache, laid out so that every layer is a sum over offsets.

In memory a tile has one plane per channel: all its rows one after the other, with a border of neighbours around them.
Planes and their first inner pixels are aligned to vectors: reading across two cache lines takes twice as long.
"""

import math
from typing import NamedTuple

from mirl.runtime.vectors import CHUNK, LANES, LINE

CACHE = 192 * 1024
"""float32 numbers that the planes of a tile may take: three quarters of a second-level cache of 1 MiB."""
COLUMNS = 64
"""Columns of a tile with a border of one: whole cache lines, and about as many columns as the tile has rows."""


class Grid(NamedTuple):
    """Grid of tiles of `rows` x `columns` pixels, numbered row by row, with their layout in memory."""

    rows: int
    columns: int
    border: int
    pitch: int
    """Number of elements from a pixel to the pixel below."""
    plane: int
    """Number of elements from a pixel to the same pixel of the next channel; a whole number of vectors."""
    start: int
    """Index in its plane of the first pixel inside the border, which is at the start of a vector."""
    across: int
    """Number of tiles in a row of the grid."""
    tiles: int


def cut(height: int, width: int, planes: int, border: int, side: int = 0) -> Grid:
    """Make the grid for tiles of `planes` planes: tiles of one size that cover the image and may extend beyond it.

    With a `side`, squares of as many pixels, from the first on, are made of whole tiles.
    """
    room = max(CACHE // planes, 4 * CHUNK)
    if side:
        columns = _divisor(side, COLUMNS if border else room)
        rows = _divisor(side, max(room // (columns + 2 * border) - 2 * border, 1))
    else:
        columns = _whole(_even(width, COLUMNS), LINE) if border else _even(width, room)
        rows = _even(height, max(room // (columns + 2 * border) - 2 * border, 4 * border, 1))
    pitch = columns + 2 * border
    start = _whole(border * (pitch + 1), LANES)
    inner = _whole((rows - 1) * pitch + columns, CHUNK)
    whole = _whole(start + (rows + border) * pitch, CHUNK)
    plane = _whole(max(start + inner + border * (pitch + 1), whole), LANES)
    plane += LANES * (plane // LANES % 2 == 0)  # an odd number of vectors uses all of a cache
    across = math.ceil(width / columns)
    return Grid(rows, columns, border, pitch, plane, start, across, across * math.ceil(height / rows))


def _even(size: int, most: int) -> int:
    """Return the length of the parts if `size` is cut into as few equal parts of at most `most` as possible."""
    return math.ceil(size / math.ceil(size / min(most, size)))


def _divisor(side: int, most: int) -> int:
    """Return the largest divisor of `side` that is at most `most`."""
    return next(length for length in range(min(side, most), 0, -1) if side % length == 0)


def _whole(length: int, unit: int) -> int:
    return math.ceil(length / unit) * unit
