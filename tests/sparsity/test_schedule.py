from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirl.config import UserError
from mirl.sparsity.schedule import decaying_fraction, keep_after, keep_at


def test_the_rounds_of_the_paper_leave_what_was_counted() -> None:
    kept = 33_199_064
    for _ in range(15):
        kept = keep_after(kept, 0.2)
    assert kept == 1_168_088


@pytest.mark.parametrize(
    ("kept", "fraction", "left"), [(10, 0.2, 8), (10, 0.25, 8), (10, 0.3, 7), (3, 0.9, 0)]
)
def test_keep_after_literally(kept: int, fraction: float, left: int) -> None:
    assert keep_after(kept, fraction) == left


@pytest.mark.parametrize(
    ("total", "density", "kept"), [(10, 0.25, 3), (1000, 0.1, 100), (10, 1.0, 10), (10, 0.01, 0)]
)
def test_keep_at_literally(total: int, density: float, kept: int) -> None:
    assert keep_at(total, density) == kept


def test_fractions_mean_what_is_written() -> None:
    assert keep_after(335_000, 0.9) == 33_500
    assert keep_at(150, 0.15) == 23  # 22.5; 0.15 in binary is a hair below


@given(kept=st.integers(10, 10**8), fraction=st.floats(0.1, 0.9))
def test_a_round_takes_some_and_leaves_some(kept: int, fraction: float) -> None:
    assert 0 < keep_after(kept, fraction) < kept


def test_a_round_that_takes_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="removes none of the 2 weights"):
        keep_after(2, 0.2)


@pytest.mark.parametrize("function", [keep_after, keep_at])
@pytest.mark.parametrize("value", [0.0, -0.1, 1.1, float("nan")])
def test_values_out_of_range_are_refused(function: Callable[[int, float], int], value: float) -> None:
    with pytest.raises(UserError, match="expected a number"):
        function(10, value)


@pytest.mark.parametrize(
    ("density", "fraction"), [(1.0, 0.6), (0.4, 0.4607), (0.1**0.5, 0.425), (0.1, 0.25), (0.01, 0.25)]
)
def test_slowing_literally(density: float, fraction: float) -> None:
    assert decaying_fraction(density, first=0.6, last=0.25, until=0.1) == fraction
