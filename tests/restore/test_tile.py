from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirl.restore.pad import reflected, round_up
from mirl.restore.tile import SMALLEST, Span, Tiles, cut, grid, smallest, spans


def whole(tiles: Tiles, x_BCHW: torch.Tensor, run: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """`x_BCHW` through `run` in tiles."""
    height, width = x_BCHW.shape[2:]

    def tile(row: Span, column: Span) -> torch.Tensor:
        rows, columns = reflected(height, row.start, row.stop), reflected(width, column.start, column.stop)
        return run(x_BCHW.index_select(2, rows).index_select(3, columns).float())

    parts = [(top, part.clone()) for top, part in tiles.bands(tile, (height, width))]
    assert [top for top, _ in parts] == [
        sum(part.shape[2] for _, part in parts[:i]) for i in range(len(parts))
    ]
    return torch.cat([part for _, part in parts], dim=2)


@settings(deadline=None)
@given(
    size=st.integers(1, 700),
    times=st.integers(SMALLEST, 30),
    multiple=st.sampled_from([1, 4, 8, 16]),
    even=st.booleans(),
)
def test_spans_cover_a_side_evenly(size: int, times: int, multiple: int, even: bool) -> None:
    tile, padded = times * multiple, round_up(size, multiple)
    found = list(spans(size, tile, multiple, even))
    end = found[-1].stop
    total, under, alone = (torch.zeros(end, dtype=torch.float64) for _ in range(3))
    for span in found:
        assert span.start % multiple == 0 and span.core[0] % multiple == span.core[1] % multiple == 0
        assert 0 < span.stop - span.start <= found[0].stop <= tile
        assert span.stop - span.start == found[0].stop or (span is found[-1] and not even)
        total[span.start : span.stop] += span.weight()
        under[span.start : span.stop] += 1
        alone[span.start + span.core[0] : span.start + span.core[1]] += 1
    assert torch.allclose(total, torch.ones(end, dtype=torch.float64), rtol=0, atol=1e-12)
    assert under.max() <= 2
    assert end >= padded > found[-1].start and (even or end == padded)
    assert (alone[:padded] == 1).all() and not alone[padded:].any()


def test_spans_by_hand() -> None:
    found = [(s.start, s.stop, s.fade_in, s.fade_out, s.core) for s in spans(20, 12, 4)]
    assert found == [(0, 12, 0, 4, (0, 8)), (8, 20, 4, 0, (0, 12))]
    assert next(iter(spans(20, 12, 4))).weight().tolist() == [1.0] * 8 + [1.0, 0.75, 0.25, 0.0]


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
    shapes = []

    def run(x_BCHW: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(x_BCHW.shape[2:]))
        return x_BCHW.clone()

    x_BCHW = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(0))
    tiles = cut(height, width, multiple, pixels)
    assert torch.allclose(whole(tiles, x_BCHW, run), x_BCHW, atol=1e-6)
    padded = round_up(height, multiple), round_up(width, multiple)
    assert tiles.size == padded
    assert shapes[0][0] * shapes[0][1] <= pixels
    assert (len(shapes) == 1) == (padded[0] * padded[1] <= pixels)


def test_what_fits_is_not_cut() -> None:
    assert len(cut(60, 64, 8, 64 * 64).positions()) == 1
    assert len(cut(60, 64, 8, 64 * 64 - 1).positions()) > 1


def test_a_seam_fades_from_one_tile_to_the_other() -> None:
    for shape, tile in [((1, 1, 1, 20), (4, 12)), ((1, 1, 20, 1), (12, 4))]:
        answers = iter([0.0, 1.0])
        tiles = grid(shape[2], shape[3], 4, tile)
        out_BCHW = whole(
            tiles, torch.zeros(shape), partial(lambda answers, x: torch.full_like(x, next(answers)), answers)
        )
        assert out_BCHW.flatten().tolist() == [0.0] * 8 + [0.0, 0.25, 0.75, 1.0] + [1.0] * 8


def test_too_few_pixels_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        cut(100, 100, 8, smallest(100, 100, 8) - 1)
