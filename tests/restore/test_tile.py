import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirl.restore.pad import round_up
from mirl.restore.tile import SMALLEST, Tiled, smallest, spans, tiler, untiled


@settings(deadline=None)
@given(size=st.integers(1, 700), times=st.integers(SMALLEST, 30), multiple=st.sampled_from([1, 4, 8, 16]))
def test_weights_add_up_to_one_everywhere(size: int, times: int, multiple: int) -> None:
    tile = times * multiple
    total, under = torch.zeros(size, dtype=torch.float64), torch.zeros(size)
    for span in spans(size, tile, multiple):
        assert span.start % multiple == 0
        assert 0 < span.stop - span.start <= tile
        total[span.start : span.stop] += span.weight()
        under[span.start : span.stop] += 1
    assert torch.allclose(total, torch.ones(size, dtype=torch.float64), rtol=0, atol=1e-12)
    assert under.max() <= 2


def test_spans_by_hand() -> None:
    found = [(s.start, s.stop, s.fade_in, s.fade_out) for s in spans(20, 12, 4)]
    assert found == [(0, 12, 0, 4), (8, 20, 4, 0)]
    assert next(iter(spans(20, 12, 4))).weight().tolist() == [1.0] * 8 + [1.0, 0.75, 0.25, 0.0]


def test_spans_are_about_equal() -> None:
    lengths = [s.stop - s.start for s in spans(1001, 400, 8)]
    assert len(lengths) == 3 and max(lengths) - min(lengths) <= 24


@settings(deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    multiple=st.sampled_from([4, 8]),
    budget=st.floats(0, 1),
)
def test_no_tile_is_larger_than_allowed(height: int, width: int, multiple: int, budget: float) -> None:
    least = smallest(height, width, multiple)
    pixels = least + int(budget * (2 * height * width))
    sizes = []

    def run(x_BCHW: torch.Tensor) -> torch.Tensor:
        sizes.append(round_up(x_BCHW.shape[2], multiple) * round_up(x_BCHW.shape[3], multiple))
        return x_BCHW.float()

    x_BCHW = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(0))
    out_BCHW = tiler(height, width, multiple, pixels)(run, x_BCHW)
    assert max(sizes) <= pixels
    assert (len(sizes) == 1) == (round_up(height, multiple) * round_up(width, multiple) <= pixels)
    assert torch.allclose(out_BCHW, x_BCHW, atol=1e-6)


def test_what_fits_is_not_cut() -> None:
    assert tiler(60, 64, 8, 64 * 64) is untiled
    assert tiler(60, 64, 8, 64 * 64 - 1) != untiled


def test_a_seam_fades_from_one_tile_to_the_other() -> None:
    answers = iter([0.0, 1.0])
    tiled = Tiled(height=4, width=12, multiple=4)
    out_BCHW = tiled(lambda x: torch.full_like(x, next(answers)), torch.zeros(1, 1, 1, 20))
    assert out_BCHW.flatten().tolist() == [0.0] * 8 + [0.0, 0.25, 0.75, 1.0] + [1.0] * 8


def test_too_few_pixels_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        tiler(100, 100, 8, smallest(100, 100, 8) - 1)
