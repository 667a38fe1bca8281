import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirl.restore.pad import pad, reflected, round_up


@pytest.mark.parametrize(
    ("size", "multiple", "positions"),
    [
        (3, 8, [0, 1, 2, 1, 0, 1, 2, 1]),
        (1, 4, [0, 0, 0, 0]),
        (2, 4, [0, 1, 0, 1]),
        (4, 4, [0, 1, 2, 3]),
        (5, 4, [0, 1, 2, 3, 4, 3, 2, 1]),
    ],
)
def test_reflects_as_often_as_needed(size: int, multiple: int, positions: list[int]) -> None:
    assert reflected(size, 0, round_up(size, multiple)).tolist() == positions
    assert reflected(size, 1, 3).tolist() == positions[1:3]


@settings(deadline=None)
@given(height=st.integers(2, 20), width=st.integers(2, 20), multiple=st.integers(1, 8))
def test_is_torchs_reflection_where_that_exists(height: int, width: int, multiple: int) -> None:
    down, right = round_up(height, multiple) - height, round_up(width, multiple) - width
    x_BCHW = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    padded_BCHW = pad(x_BCHW, multiple)
    assert padded_BCHW.shape[2] % multiple == 0 == padded_BCHW.shape[3] % multiple
    if down < height and right < width:
        expected_BCHW = torch.nn.functional.pad(x_BCHW, (0, right, 0, down), mode="reflect")
        assert torch.equal(padded_BCHW, expected_BCHW)
