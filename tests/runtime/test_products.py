"""The kernel that multiplies planes with planes."""

import numpy as np
import pytest

from mirl.runtime.products import add_products
from mirl.runtime.vectors import CHUNK, SIDE


@pytest.mark.parametrize(("left", "right"), [(1, 1), (SIDE, SIDE), (SIDE + 1, 2 * SIDE - 1)])
@pytest.mark.parametrize("length", [1, 100])
def test_products_of_planes(left: int, right: int, length: int) -> None:
    rng, plane = np.random.default_rng(0), 2 * CHUNK
    memory = np.zeros((left + right + SIDE) * plane, np.float32)
    planes = memory.reshape(-1, plane)
    planes[:, :length] = rng.normal(size=(len(planes), length))
    dots = np.ones((left, right), np.float32)
    add_products(memory, (0, plane), (left * plane, plane), length, dots)
    wanted = 1 + planes[:left].astype(np.float64) @ planes[left : left + right].T
    np.testing.assert_allclose(dots, wanted, atol=1e-4)
