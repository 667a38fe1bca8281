"""Matrix rows times planes of pixels, of which every layer is made.

A sparse row is a list of (offset, weight). An offset is the distance in memory from an output pixel to an input pixel.
So 1x1, 3x3 and depth-wise convolutions differ in their offsets alone, and a zero weight costs nothing in any layer.
In a layer with few zeros all rows share one list of offsets: the layer is a matrix, and takes half the time per weight.
"""

from typing import NamedTuple

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.products import make_blocks, multiply
from mirl.runtime.vectors import CHUNK, SIDE, sum_chunk

DENSE = 0.45
"""Share of non-zero weights above which a layer is computed as dense: a weight then takes under half the time."""


class Rows(NamedTuple):
    """Output rows of a layer, sparse or dense."""

    starts: np.ndarray
    """int32, one more than the number of rows; sparse row r holds the elements [starts[r], starts[r + 1])."""
    offsets: np.ndarray
    """int32, one per element, or per column of a dense layer: distance from output to input pixel, in elements."""
    weights: np.ndarray
    """float32, one per element; empty if dense."""
    bias: np.ndarray
    """float32, one per row: initial value of its sum."""
    blocks: np.ndarray
    """float32, the matrix of a dense layer as `make_blocks` returns it; empty if sparse."""


def make_rows(
    weight_ROT: np.ndarray, offsets_OT: np.ndarray, bias_R: np.ndarray | None = None, dense: float = DENSE
) -> Rows:
    """Make the rows of a layer in which an input channel and a tap have the same offset for every row.

    R output rows, O input channels that a row reads, T taps of the kernel. The rows are dense if the share of non-zero
    weights is above `dense`.
    """
    weight_RE = weight_ROT.reshape(len(weight_ROT), offsets_OT.size)
    offsets_E = offsets_OT.reshape(-1)
    bias_R = np.zeros(len(weight_RE), np.float32) if bias_R is None else bias_R
    if np.count_nonzero(weight_RE) <= dense * weight_RE.size:
        return make_sparse_rows(weight_RE, np.broadcast_to(offsets_E, weight_RE.shape), bias_R)
    none, offsets = np.empty(0, np.int32), np.ascontiguousarray(offsets_E, np.int32)
    return Rows(none, offsets, np.empty(0, np.float32), bias_R, make_blocks(weight_RE, bias_R))


def make_sparse_rows(weight_RE: np.ndarray, offsets_RE: np.ndarray, bias_R: np.ndarray) -> Rows:
    """Make sparse rows of the non-zero elements of `weight_RE`, each with its offset, which may differ between rows."""
    keep_RE = weight_RE != 0
    starts = np.zeros(len(keep_RE) + 1, np.int32)
    np.cumsum(keep_RE.sum(1), out=starts[1:])
    return Rows(
        starts,
        np.ascontiguousarray(offsets_RE[keep_RE], np.int32),
        np.ascontiguousarray(weight_RE[keep_RE], np.float32),
        np.ascontiguousarray(bias_R, np.float32),
        np.empty((0, 0, SIDE), np.float32),
    )


@compiled
def sum_rows(
    rows: Rows, some: tuple[int, int], memory: np.ndarray, read: int, write: tuple[int, int], length: int
) -> None:
    """Compute `length` pixels of each row in [some[0], some[1]) from the pixels of `memory` from `read` on.

    The first row is written from write[0] on, each further row write[1] after the one before. `length` is rounded up to
    whole CHUNKs, and dense rows to whole blocks of SIDE, with which they must begin: `memory` must reach as far,
    wherever an offset leads. All rows are computed for one chunk before the next, so that the chunk stays in the
    first-level cache.
    """
    if len(rows.blocks) > 0:
        blocks = rows.blocks[some[0] // SIDE : (some[1] + SIDE - 1) // SIDE]
        multiply((blocks, rows.offsets), memory, read, write, length)
        return
    for done in range(0, length, CHUNK):
        for row in range(some[0], some[1]):
            at = write[0] + (row - some[0]) * write[1] + done
            sum_chunk(rows, row, memory, read + done, at)  # type: ignore[call-arg]
