"""How an image is cut."""

import math

import pytest

from mirl.runtime import planes, vectors
from mirl.runtime.tiles import cut


@pytest.mark.parametrize("border", [0, 1])
def test_tiles_cover_the_image_and_their_planes_hold_whole_chunks(border: int) -> None:
    for height in (1, 2, 63, 64, 65, 300):
        for width in (1, 7, 62, 63, 500):
            grid = cut(height, width, 40, border)
            down = grid.tiles // grid.across
            assert (grid.across - 1) * grid.columns < width <= grid.across * grid.columns
            assert (down - 1) * grid.rows < height <= down * grid.rows
            inner = math.ceil(planes.inner(grid) / vectors.CHUNK) * vectors.CHUNK
            reach = border * (grid.pitch + 1)
            assert planes.origin(grid) >= 0 and grid.start + inner + reach <= grid.plane
            whole = planes.origin(grid) + (grid.rows + 2 * border) * grid.pitch
            assert math.ceil(whole / vectors.CHUNK) * vectors.CHUNK <= grid.plane
            assert grid.start % vectors.LANES == 0 and grid.plane % vectors.LANES == 0
