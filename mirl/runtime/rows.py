"""What every layer is made of: rows of a matrix times planes of pixels.

A sparse row is a list of (offset, weight). An offset is where, from an output pixel on, an input pixel lies in memory. So a
1x1 convolution, a 3x3 one and a depth-wise one differ in their offsets alone, and what is zero costs nothing, whichever
layer it is in. A dense 1x1 convolution is the product of a matrix with planes at equal distance.
"""

from typing import NamedTuple

import numba
import numpy as np

from mirl.runtime.products import make_blocks, multiply
from mirl.runtime.vectors import CHUNK, SIDE, sum_chunk

DENSE = 0.4
"""Share of weights other than 0 above which a 1x1 convolution is computed whole: a weight then takes under half the time."""


class Rows(NamedTuple):
    """Output rows, sparse or dense: what is of the other kind is empty."""

    starts: np.ndarray
    """int32, one more than there are rows; sparse row r holds the elements [starts[r], starts[r + 1])."""
    offsets: np.ndarray
    """int32; from an output pixel to an input pixel, in elements."""
    weights: np.ndarray
    """float32."""
    bias: np.ndarray
    """float32, one a sparse row: what a sum begins with."""
    blocks: np.ndarray
    """float32, of dense rows: see `make_blocks`."""
    apart: int
    """How far the input planes of dense rows lie apart, in elements."""


def make_rows(weight_ROT: np.ndarray, offsets_ROT: np.ndarray, bias_R: np.ndarray | None = None) -> Rows:
    """The non-zero elements of `weight_ROT`, each with its offset.

    R output rows, O input channels that a row reads, T taps of the kernel.
    """
    keep = (weight_ROT != 0).reshape(len(weight_ROT), weight_ROT.shape[1] * weight_ROT.shape[2])
    starts = np.zeros(len(keep) + 1, np.int32)
    np.cumsum(keep.sum(1), out=starts[1:])
    return Rows(
        starts,
        np.ascontiguousarray(
            np.broadcast_to(offsets_ROT, weight_ROT.shape).reshape(keep.shape)[keep], np.int32
        ),
        np.ascontiguousarray(weight_ROT.reshape(keep.shape)[keep], np.float32),
        np.zeros(len(keep), np.float32) if bias_R is None else np.ascontiguousarray(bias_R, np.float32),
        np.empty((0, 0, SIDE), np.float32),
        0,
    )


def make_dense_rows(weight_RO: np.ndarray, apart: int, bias_R: np.ndarray | None = None) -> Rows:
    """All elements of `weight_RO`; input planes lie `apart` elements from one another."""
    none, nothing = np.empty(0, np.int32), np.empty(0, np.float32)
    return Rows(none, none, nothing, nothing, make_blocks(weight_RO, bias_R), apart)


@numba.njit(nogil=True, fastmath=True)
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
        multiply(blocks, memory, (read, rows.apart), write, length)
        return
    for done in range(0, length, CHUNK):
        for row in range(some[0], some[1]):
            at = write[0] + (row - some[0]) * write[1] + done
            sum_chunk(rows, row, memory, read + done, at)  # type: ignore[call-arg]
