import pytest

from mirl.training.learning_rate import learning_rate


def test_warms_up_linearly_and_wastes_no_step_at_rate_zero() -> None:
    assert [learning_rate(step, 100, 4, 0.8) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_falls_as_half_a_cosine_towards_zero() -> None:
    assert learning_rate(4, 104, 4, 2.0) == pytest.approx(2.0)
    assert learning_rate(54, 104, 4, 2.0) == pytest.approx(1.0)
    assert 0 < learning_rate(103, 104, 4, 2.0) < 1e-3


def test_no_warmup_starts_at_the_base() -> None:
    assert learning_rate(0, 10, 0, 0.5) == 0.5
