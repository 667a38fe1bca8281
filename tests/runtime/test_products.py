"""The dense kernels."""

import numpy as np
import pytest

from mirl.runtime.products import add_products, make_blocks, multiply
from mirl.runtime.vectors import CHUNK, SIDE, STRIP


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (SIDE, 3), (2 * SIDE + 1, SIDE)])
@pytest.mark.parametrize("length", [1, STRIP, 2 * STRIP + 3])
def test_a_matrix_times_planes(rows: int, columns: int, length: int) -> None:
    rng, plane = np.random.default_rng(0), 4 * STRIP
    matrix_RK = rng.normal(size=(rows, columns)).astype(np.float32)
    bias_R = rng.normal(size=rows).astype(np.float32)
    blocks = make_blocks(matrix_RK, bias_R)
    memory = rng.normal(size=(columns + len(blocks) * SIDE) * plane).astype(np.float32)
    pixels_KP = memory[: columns * plane].reshape(columns, plane).copy()
    offsets = (np.arange(columns)[::-1] * plane - STRIP).astype(np.int32)  # the planes the other way round
    multiply((blocks, offsets), memory, STRIP, (columns * plane, plane), length)
    planes = memory.reshape(-1, plane)
    wanted_RP = matrix_RK.astype(np.float64) @ pixels_KP[::-1, :length] + bias_R[:, None]
    np.testing.assert_allclose(planes[columns : columns + rows, :length], wanted_RP, atol=1e-5)
    np.testing.assert_array_equal(planes[:columns], pixels_KP)


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
