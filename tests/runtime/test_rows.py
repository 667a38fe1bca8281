"""The kernel that sums a row, and the rows that are made for it."""

import numpy as np
import pytest

from mirl.runtime.rows import make_rows, sum_rows
from mirl.runtime.vectors import CHUNK, SIDE


@pytest.mark.parametrize("length", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("dense", [0.05, 1.0])
def test_a_row_is_a_product_with_a_matrix(length: int, density: float, dense: float) -> None:
    rng = np.random.default_rng(length)
    inputs, outputs, plane = 7, 5, 4 * CHUNK
    weight_OI1 = rng.normal(size=(outputs, inputs, 1)).astype(np.float32)
    weight_OI1 *= rng.random(weight_OI1.shape) < density
    bias_O = rng.normal(size=outputs).astype(np.float32)
    rows = make_rows(weight_OI1, np.arange(inputs)[:, None] * plane, bias_O, dense)
    memory = rng.normal(size=(inputs + outputs + SIDE) * plane).astype(np.float32)
    pixels_IP = memory[: inputs * plane].reshape(inputs, plane).copy()
    sum_rows(rows, (0, SIDE), memory, 0, (inputs * plane, plane), length)
    sum_rows(rows, (SIDE, outputs), memory, 0, ((inputs + SIDE) * plane, plane), length)
    made_OP = memory[inputs * plane :].reshape(-1, plane)[:outputs, :length]
    wanted_OP = weight_OI1[..., 0].astype(np.float64) @ pixels_IP[:, :length] + bias_O[:, None]
    np.testing.assert_allclose(made_OP, wanted_OP, atol=1e-5)
    assert len(rows.blocks) > 0 if density > dense else rows.starts[-1] == np.count_nonzero(weight_OI1)


def test_what_lies_before_and_behind_stays() -> None:
    rows = make_rows(np.ones((1, 1, 1), np.float32), np.zeros((1, 1), np.int64), dense=1.0)
    memory = np.arange(6 * CHUNK, dtype=np.float32)
    sum_rows(rows, (0, 1), memory, 0, (3 * CHUNK, 0), 5)  # of one chunk, which is the least
    assert (memory[: 3 * CHUNK] == np.arange(3 * CHUNK)).all()
    assert (memory[4 * CHUNK :] == np.arange(4 * CHUNK, 6 * CHUNK)).all()
    assert (memory[3 * CHUNK : 4 * CHUNK] == np.arange(CHUNK)).all()
