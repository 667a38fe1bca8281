"""The kernels that sum rows, and the rows that are made for them."""

import numpy as np
import pytest

from mirl.runtime.rows import Rows, gate_rows, make_rows, paired, sum_rows
from mirl.runtime.vectors import CHUNK, SIDE

LENGTHS = [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5]
INPUTS, PLANE = 7, 4 * CHUNK


def _planes(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, PLANE)).astype(np.float32)


def _weights(outputs: int, density: float, shared: int) -> np.ndarray:
    """Weights of which `shared` outputs after one another have the same zeros."""
    rng = np.random.default_rng(outputs)
    keep_OI1 = rng.random((-(-outputs // shared), INPUTS, 1)).repeat(shared, 0)[:outputs] < density
    return (rng.normal(size=keep_OI1.shape) * keep_OI1).astype(np.float32)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shared", [1, SIDE])
@pytest.mark.parametrize("dense", [0.0, 0.45, 1.0])
def test_a_row_is_a_product_with_a_matrix(length: int, density: float, shared: int, dense: float) -> None:
    outputs = SIDE + 1
    weight_OI1, bias_O = _weights(outputs, density, shared), np.arange(outputs, dtype=np.float32)
    rows = make_rows(weight_OI1, np.arange(INPUTS)[:, None] * PLANE, bias_O, dense)
    planes = _planes(INPUTS + 2 * SIDE)
    pixels_IP, memory = planes[:INPUTS].copy(), planes.reshape(-1)
    sum_rows(rows, (0, SIDE), memory, (0, 0), (INPUTS * PLANE, PLANE), length)
    sum_rows(rows, (SIDE, outputs), memory, (0, 0), ((INPUTS + SIDE) * PLANE, PLANE), length)
    wanted_OP = weight_OI1[..., 0].astype(np.float64) @ pixels_IP[:, :length] + bias_O[:, None]
    np.testing.assert_allclose(planes[INPUTS : INPUTS + outputs, :length], wanted_OP, atol=1e-5)
    np.testing.assert_array_equal(planes[:INPUTS], pixels_IP)


def test_rows_with_the_same_zeros_are_groups_of_the_others() -> None:
    def made(shared: int) -> Rows:
        return make_rows(_weights(4 * SIDE, 0.3, shared), np.arange(INPUTS)[:, None])

    weight_OI1 = _weights(4 * SIDE, 0.3, SIDE)
    assert (
        made(SIDE).side == SIDE
        and made(SIDE).weights.size == np.count_nonzero(weight_OI1) < weight_OI1.size / 2
    )
    assert made(1).side == 1 and made(1).weights.size == np.count_nonzero(_weights(4 * SIDE, 0.3, 1))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("dense", "step"), [(0.0, 0), (1.0, 0), (1.0, PLANE)])
def test_gated_rows_are_products_of_two(length: int, density: float, dense: float, step: int) -> None:
    outputs = SIDE + 2
    factors_2OI1 = _weights(2 * outputs, density, 1).reshape(2, outputs, INPUTS, 1)
    weight_OI1, bias_O = (
        paired(factors_2OI1),
        paired(np.arange(2.0 * outputs).reshape(2, outputs)).astype(np.float32),
    )
    offsets = np.arange(INPUTS)[:, None] * (PLANE if step == 0 else 3)
    rows = make_rows(weight_OI1, offsets, bias_O, dense)
    planes = _planes(4 * SIDE)
    pixels, memory = planes.copy(), planes.reshape(-1)
    target = (INPUTS + 2) * PLANE if step == 0 else 3 * SIDE * PLANE
    for first, count in ((0, SIDE), (2 * SIDE, outputs - SIDE)):
        planes[:] = pixels
        gate_rows(rows, first, memory, (0, step), (target, PLANE), length)
        for row in range(count):
            left, right = (
                bias_O[r]
                + sum(
                    weight_OI1[r, i, 0] * pixels.reshape(-1)[(r - first) * step + offsets[i, 0] :][:length]
                    for i in range(INPUTS)
                )
                for r in (first + row, first + SIDE + row)
            )
            np.testing.assert_allclose(memory[target + row * PLANE :][:length], left * right, atol=2e-4)


def test_what_lies_before_and_behind_stays() -> None:
    rows = make_rows(np.ones((1, 1, 1), np.float32), np.zeros((1, 1), np.int64), dense=1.0)
    memory = np.arange(6 * CHUNK, dtype=np.float32)
    sum_rows(rows, (0, 1), memory, (0, 0), (3 * CHUNK, 0), 5)  # of one chunk, which is the least
    assert (memory[: 3 * CHUNK] == np.arange(3 * CHUNK)).all()
    assert (memory[4 * CHUNK :] == np.arange(4 * CHUNK, 6 * CHUNK)).all()
    assert (memory[3 * CHUNK : 4 * CHUNK] == np.arange(CHUNK)).all()
