"""Dense products: of a matrix with pixels, and of planes with planes."""

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.vectors import SIDE, STRIP, sum_block, sum_strip


def make_blocks(matrix_RK: np.ndarray, bias_R: np.ndarray | None = None) -> np.ndarray:
    """The matrix as `multiply` reads it: (blocks of SIDE rows, 1 + K, SIDE), biases first, filled up with rows of 0."""
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
    """`length` pixels of a plane for each row of `matrix`, which is its blocks and the int32 offset of each column.

    A row's pixel is its bias and the sum over the columns of weight times the pixel at that offset; the first is read from
    `read` on. `write`: where the first plane begins, and how far apart planes lie. `length` is rounded up to whole STRIPs,
    the rows to whole blocks: up to there `memory` must exist. Rows take turns at a strip, which stays in the first-level
    cache.
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

    `left`, `right`: where the planes begin, and how far apart they lie. Pixels are taken in whole vectors: up to there
    they must be 0.
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
