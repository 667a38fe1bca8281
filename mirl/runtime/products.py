"""Products of planes with planes."""

import numpy as np

from mirl.runtime.compiled import compiled
from mirl.runtime.vectors import SIDE, sum_block


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
