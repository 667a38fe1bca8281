"""Dense products: a matrix times pixels, and planes times planes."""

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.vectors import SIDE, STRIP, sum_block, sum_strip


def make_blocks(matrix_RK: np.ndarray, bias_R: np.ndarray | None = None) -> np.ndarray:
    """Arrange a matrix for `multiply`: (blocks of SIDE rows, 1 + K, SIDE), biases first, padded with zero rows."""
    rows, columns = matrix_RK.shape
    blocks = -(-rows // SIDE)
    filled = np.zeros((blocks * SIDE, 1 + columns), np.float32)
    filled[:rows, 0] = 0 if bias_R is None else bias_R
    filled[:rows, 1:] = matrix_RK
    return np.ascontiguousarray(filled.reshape(blocks, SIDE, 1 + columns).transpose(0, 2, 1))


@compiled
def multiply(
    matrix: tuple[np.ndarray, np.ndarray], memory: np.ndarray, read: int, write: tuple[int, int], length: int
) -> None:
    """Compute `length` pixels of a plane for each row of `matrix` = (blocks, int32 offset of each column).

    A row's pixel is its bias plus the sum over the columns of weight times the pixel at that offset; the first pixel's
    offsets count from `read`. `write` is (start of the first plane, distance between planes). `length` is rounded up to
    whole STRIPs, the rows to whole blocks, and `memory` must reach as far. All rows are computed for one strip before
    the next, so that the strip stays in the first-level cache.
    """
    for done in range(0, length, STRIP):
        for block in range(len(matrix[0])):
            at = write[0] + block * SIDE * write[1] + done
            sum_strip(matrix, block, memory, read + done, (at, write[1]))  # type: ignore[call-arg]


@compiled
def add_products(
    memory: np.ndarray, left: tuple[int, int], right: tuple[int, int], length: int, dots: np.ndarray
) -> None:
    """Add to `dots` (L, R) the products, summed over `length` pixels, of L planes with R planes.

    `left` and `right` are (start of the first plane, distance between planes). Pixels are read in whole vectors: those
    from `length` to the end of the last vector must be 0.
    """
    rows, columns = dots.shape
    block = np.empty((SIDE, SIDE), np.float32)
    for i in range(0, rows, SIDE):
        for j in range(0, columns, SIDE):
            high, wide = min(SIDE, rows - i), min(SIDE, columns - j)
            above, beside = (left[0] + i * left[1], left[1]), (right[0] + j * right[1], right[1])
            sum_block(memory, above, beside, length, block)  # type: ignore[call-arg]
            for r in range(high):
                for c in range(wide):
                    dots[i + r, j + c] += block[r, c]
