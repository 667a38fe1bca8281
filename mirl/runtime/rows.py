"""Matrix rows times planes of pixels, of which every layer is made.

A row is a list of (offset, weight). An offset is the distance in memory from an output pixel to an input pixel. So 1x1,
3x3 and depth-wise convolutions differ in their offsets alone, and a zero weight costs nothing in any layer.
Rows are computed one by one, or in groups of SIDE that share their offsets: a pixel that is read is then used for all
of the group, and a weight takes about half the time.
"""

from typing import NamedTuple

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.vectors import CHUNK, SIDE, STRIP, gate_row, gate_side, sum_row, sum_side

DENSE = 0.45
"""Share of non-zero weights in groups above which rows are computed in groups: a weight then takes under half the time."""

ALONE = 1.0
"""In the place of DENSE, for rows that must not be grouped: each reads its own plane, or the first ends a part."""


class Rows(NamedTuple):
    """Output rows of a layer, each alone or in groups of SIDE with the same offsets."""

    starts: np.ndarray
    """int32, one more than the number of groups; group g holds the elements [starts[g], starts[g + 1])."""
    offsets: np.ndarray
    """int32, one per element: distance from output to input pixel, in elements."""
    weights: np.ndarray
    """float32 (elements, `side`): the weight of each row of the group."""
    bias: np.ndarray
    """float32, one per row of each group: initial value of its sum."""
    side: int
    """Rows of a group: 1 or SIDE."""


def make_rows(
    weight_ROT: np.ndarray, offsets_OT: np.ndarray, bias_R: np.ndarray | None = None, dense: float = DENSE
) -> Rows:
    """Make the rows of a layer in which an input channel and a tap have the same offset for every row.

    R output rows, O input channels that a row reads, T taps of the kernel. Rows are grouped if, of the weights that the
    groups then have, the share of non-zero ones is above `dense`; a group has the offsets that any of its rows has.
    """
    rows, count = len(weight_ROT), offsets_OT.size
    weight_RE = weight_ROT.reshape(rows, count)
    whole = -(-rows // SIDE) * SIDE
    filled_GSE = np.zeros((whole // SIDE, SIDE, count), np.float32)
    filled_GSE.reshape(whole, count)[:rows] = weight_RE
    grouped_GE = (filled_GSE != 0).any(1)
    if np.count_nonzero(weight_RE) <= dense * SIDE * np.count_nonzero(grouped_GE):
        filled_GSE, grouped_GE = weight_RE[:, None], weight_RE != 0
    side = filled_GSE.shape[1]
    starts = np.zeros(len(grouped_GE) + 1, np.int32)
    np.cumsum(grouped_GE.sum(1), out=starts[1:])
    bias = np.zeros(len(grouped_GE) * side, np.float32)
    bias[:rows] = 0 if bias_R is None else bias_R
    offsets_GE = np.broadcast_to(offsets_OT.reshape(-1), grouped_GE.shape)
    return Rows(
        starts,
        np.ascontiguousarray(offsets_GE[grouped_GE], np.int32),
        np.ascontiguousarray(filled_GSE.transpose(0, 2, 1)[grouped_GE], np.float32),
        bias,
        side,
    )


@compiled
def sum_rows(
    rows: Rows,
    some: tuple[int, int],
    memory: np.ndarray,
    read: tuple[int, int],
    write: tuple[int, int],
    length: int,
) -> None:
    """Compute `length` pixels of each row in [some[0], some[1]) from the pixels of `memory` from read[0] on.

    The first row is written from write[0] on, each further row write[1] after the one before; single rows also read
    read[1] after the one before. `length` is rounded up to whole CHUNKs, and rows to whole groups, with which they must
    begin: `memory` must reach as far, wherever an offset leads. All rows are computed for one chunk before the next, so
    that the chunk stays in the first-level cache.
    """
    if rows.side == 1:
        for done in range(0, length, CHUNK):
            for row in range(some[0], some[1]):
                source = (read[0] + (row - some[0]) * read[1] + done, 0)
                target = (write[0] + (row - some[0]) * write[1] + done, 0)
                sum_row(rows, row, memory, source, target)
        return
    for done in range(0, length, STRIP):
        for group in range(some[0] // SIDE, (some[1] + SIDE - 1) // SIDE):
            target = (write[0] + (group * SIDE - some[0]) * write[1] + done, write[1])
            sum_side(rows, group, memory, (read[0] + done, 0), target)


@compiled
def gate_rows(
    rows: Rows, first: int, memory: np.ndarray, read: tuple[int, int], write: tuple[int, int], length: int
) -> None:
    """Compute the products of the SIDE rows from `first` on with the SIDE rows after them (SimpleGate).

    The other arguments are those of `sum_rows`. No sum is written, only SIDE products.
    """
    if rows.side == 1:
        for done in range(0, length, CHUNK):
            for row in range(SIDE):
                source = (read[0] + row * read[1] + done, read[1])
                gate_row(rows, first + row, memory, source, (write[0] + row * write[1] + done, 0))
        return
    for done in range(0, length, STRIP // 2):
        source, target = (read[0] + done, 0), (write[0] + done, write[1])
        gate_side(rows, first // SIDE, memory, source, target)


def paired(weight_J: np.ndarray) -> np.ndarray:
    """Return rows (two factors, J, ...) in the order of `gate_rows`: SIDE left ones, SIDE right ones; 0 fills the last."""
    count, *shape = weight_J.shape[1:]
    groups = -(-count // SIDE)
    filled = np.zeros((2, groups * SIDE, *shape), weight_J.dtype)
    filled[:, :count] = weight_J
    return filled.reshape(2, groups, SIDE, *shape).swapaxes(0, 1).reshape(2 * groups * SIDE, *shape)
