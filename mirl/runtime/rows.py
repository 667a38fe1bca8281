"""What every layer is made of: rows of a matrix times planes of pixels.

A sparse row is a list of (offset, weight). An offset is where, from an output pixel on, an input pixel lies in memory. So a
1x1 convolution, a 3x3 one and a depth-wise one differ in their offsets alone, and what is zero costs nothing, whichever
layer it is in. Of a layer with few zeros all rows share one list of offsets: it is a matrix, and takes half the
time a weight.
"""

from typing import NamedTuple

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.products import make_blocks, multiply
from mirl.runtime.vectors import CHUNK, SIDE, sum_chunk

DENSE = 0.45
"""Share of weights other than 0 above which a layer is computed whole: a weight then takes under half the time."""


class Rows(NamedTuple):
    """Output rows, sparse or dense."""

    starts: np.ndarray
    """int32, one more than there are rows; sparse row r holds the elements [starts[r], starts[r + 1])."""
    offsets: np.ndarray
    """int32, of each element, or of each column of a dense layer: from an output pixel to an input pixel, in elements."""
    weights: np.ndarray
    """float32, of each element; empty where dense."""
    bias: np.ndarray
    """float32, one a row: what a sum begins with."""
    blocks: np.ndarray
    """float32, of a dense layer, see `make_blocks`; empty where sparse."""


def make_rows(
    weight_ROT: np.ndarray, offsets_OT: np.ndarray, bias_R: np.ndarray | None = None, dense: float = DENSE
) -> Rows:
    """The rows of a layer in which an input channel and a tap lie at the same offset for every row.

    R output rows, O input channels that a row reads, T taps of the kernel. Dense where more than a share `dense` of the
    weights is other than 0.
    """
    weight_RE = weight_ROT.reshape(len(weight_ROT), offsets_OT.size)
    offsets_E = offsets_OT.reshape(-1)
    bias_R = np.zeros(len(weight_RE), np.float32) if bias_R is None else bias_R
    if np.count_nonzero(weight_RE) <= dense * weight_RE.size:
        return make_sparse_rows(weight_RE, np.broadcast_to(offsets_E, weight_RE.shape), bias_R)
    none, offsets = np.empty(0, np.int32), np.ascontiguousarray(offsets_E, np.int32)
    return Rows(none, offsets, np.empty(0, np.float32), bias_R, make_blocks(weight_RE, bias_R))


def make_sparse_rows(weight_RE: np.ndarray, offsets_RE: np.ndarray, bias_R: np.ndarray) -> Rows:
    """The elements of `weight_RE` other than 0, each with its offset, which may differ from row to row."""
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
    """For each row in [some[0], some[1]): `length` pixels of `memory` become its sums over the pixels from `read` on.

    Those of the first row are written from write[0] on, those of the next write[1] behind. `length` is rounded up to
    whole CHUNKs, and dense rows to whole blocks of SIDE, with which they must begin: up to there `memory` must exist,
    wherever an offset leads. Rows take turns at a chunk, which stays in the first-level cache.
    """
    if len(rows.blocks) > 0:
        blocks = rows.blocks[some[0] // SIDE : (some[1] + SIDE - 1) // SIDE]
        multiply((blocks, rows.offsets), memory, read, write, length)
        return
    for done in range(0, length, CHUNK):
        for row in range(some[0], some[1]):
            at = write[0] + (row - some[0]) * write[1] + done
            sum_chunk(rows, row, memory, read + done, at)  # type: ignore[call-arg]
