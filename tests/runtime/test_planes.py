"""What is done to planes."""

import math

import numpy as np

from mirl.runtime import planes


def test_gelu_is_right_to_two_millionths() -> None:
    x = np.concatenate([np.linspace(-12, 12, 100_001), [0.0, -1e-30, 1e30, -1e30]]).astype(np.float32)
    value = np.empty_like(x)
    planes.gate_gelu(x, np.ones_like(x), value)
    wanted = np.array([v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in x.astype(np.float64)])
    assert (np.abs(value - wanted) <= 2e-6 * np.maximum(1, np.abs(wanted))).all()
