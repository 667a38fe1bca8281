"""Tiles: pieces of an image that fit a core's cache, laid out so that every layer is a sum over offsets.

In memory a tile is one plane a channel: all its rows behind one another, with a border of neighbours around them. Planes
and their first inner pixels begin where vectors of the processor do: reading across two lines of cache takes twice as long.
"""

import math
from typing import NamedTuple

from mirl.runtime.vectors import CHUNK, LANES, LINE

CACHE = 192 * 1024
"""float32 numbers that the planes of a tile may take: three quarters of a second-level cache of 1 MiB."""
COLUMNS = 64
"""Of a tile with a border of one: whole lines of cache, and about as many as it has rows."""


class Grid(NamedTuple):
    """How an image is cut into tiles of `rows` x `columns` pixels, numbered row by row."""

    rows: int
    columns: int
    border: int
    pitch: int
    """From a pixel to the one below."""
    plane: int
    """From a pixel to the same one of the next channel; a whole number of vectors."""
    start: int
    """Where the first pixel inside the border lies in its plane: at the beginning of a vector."""
    across: int
    """Tiles beside one another."""
    tiles: int


def cut(height: int, width: int, planes: int, border: int) -> Grid:
    """The grid for tiles of `planes` planes; tiles of one size that cover the image, the last ones may hang over."""
    room = max(CACHE // planes, 4 * CHUNK)
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
    """`size` in as few equal parts as are no longer than `most`: their length."""
    return math.ceil(size / math.ceil(size / min(most, size)))


def _whole(length: int, unit: int) -> int:
    return math.ceil(length / unit) * unit
