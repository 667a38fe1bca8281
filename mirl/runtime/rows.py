"""The one kernel that everything here is made of: a row of a sparse matrix times planes of pixels.

A layer is a list of output rows; a row is a list of (offset, weight). An offset is where, from an output pixel on, an
input pixel lies in memory. So a 1x1 convolution, a 3x3 one and a depth-wise one differ in their offsets alone, and
what is zero costs nothing, whichever layer it is in.

What is dense, which attention is, has kernels in `mirl.runtime.products`.
"""

from typing import NamedTuple

import numba
import numpy as np

from mirl.runtime.vectors import CHUNK, sum_chunk


class Rows(NamedTuple):
    """Output rows in compressed form; row r holds the elements [starts[r], starts[r + 1])."""

    starts: np.ndarray
    """int32, one more than there are rows."""
    offsets: np.ndarray
    """int32; from an output pixel to an input pixel, in elements."""
    weights: np.ndarray
    """float32."""
    bias: np.ndarray
    """float32, one a row: what a sum begins with."""


def make_rows(weight_ROT: np.ndarray, offsets_ROT: np.ndarray, bias_R: np.ndarray | None = None) -> Rows:
    """The non-zero elements of `weight_ROT`, each with its offset.

    R output rows, O input channels that a row reads, T taps of the kernel.
    """
    keep = (weight_ROT != 0).reshape(len(weight_ROT), weight_ROT.shape[1] * weight_ROT.shape[2])
    starts = np.zeros(len(keep) + 1, np.int32)
    np.cumsum(keep.sum(1), out=starts[1:])
    bias = np.zeros(len(keep), np.float32) if bias_R is None else bias_R
    return Rows(
        starts,
        np.ascontiguousarray(
            np.broadcast_to(offsets_ROT, weight_ROT.shape).reshape(keep.shape)[keep], np.int32
        ),
        np.ascontiguousarray(weight_ROT.reshape(keep.shape)[keep], np.float32),
        np.ascontiguousarray(bias, np.float32),
    )


@numba.njit(nogil=True, fastmath=True)
def sum_rows(
    rows: Rows, some: tuple[int, int], memory: np.ndarray, read: int, write: tuple[int, int], length: int
) -> None:
    """For each row in [some[0], some[1]): `length` pixels of `memory` become its sums over the pixels from `read` on.

    Those of the first row are written from write[0] on, those of the next write[1] behind. `length` is rounded up to
    whole CHUNKs; up to there `memory` must exist, wherever an offset leads. Rows take turns at a chunk, which stays in
    the first-level cache.
    """
    for done in range(0, length, CHUNK):
        for row in range(some[0], some[1]):
            at = write[0] + (row - some[0]) * write[1] + done
            sum_chunk(rows, row, memory, read + done, at)  # type: ignore[call-arg]
