from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mirl.networks import NETWORKS
from mirl.networks.global_statistics import GlobalStatistic, StretchedPlane, mean
from mirl.restore.global_context import (
    MOST_PIXELS,
    GlobalContext,
    TileContext,
    area,
    gather_statistics,
    passes,
)
from mirl.restore.restorer import Restorer
from mirl.restore.tile import grid


class Brightness(nn.Module):
    """Takes away the mean of the image and then asks again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GlobalStatistic(), GlobalStatistic()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = x_BCHW - self.first(mean, x_BCHW)[..., None, None]
        return y_BCHW - self.second(mean, y_BCHW**2)[..., None, None]


def test_a_tile_is_told_of_the_whole() -> None:
    image_BCHW = torch.rand(1, 3, 200, 160, generator=torch.Generator().manual_seed(0))
    image_BCHW[..., :70] += 1
    network = Brightness()
    expected_BCHW, global_context = network(image_BCHW), GlobalContext(network)
    tiles = grid(200, 160, 8, (96, 80))

    def show(positions: Any, known: Any, found: Any) -> Tensor:
        parts = [
            image_BCHW[..., row.start : row.stop, column.start : column.stop] for row, column in positions
        ]
        with global_context.showing(
            TileContext(size=(200, 160), positions=positions, known=known, found=found)
        ):
            return network(torch.cat(parts))

    known = gather_statistics(passes(tiles, 8, 96 * 80), show)
    assert torch.allclose(known[0], image_BCHW.mean((2, 3)), atol=1e-6)  # each pixel counted once
    row, column = tiles.positions()[0]
    part_BCHW = show([(row, column)], known, None)
    assert torch.allclose(part_BCHW, expected_BCHW[..., : row.stop, : column.stop], atol=1e-3)
    assert torch.equal(network(image_BCHW), expected_BCHW)  # no context any more


def test_tiles_see_their_part_of_what_is_spread_over_the_image() -> None:
    module, plane_BPSS = StretchedPlane(), torch.rand(1, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    whole_BPHW, global_context = module(plane_BPSS, torch.empty(1, 1, 60, 40)), GlobalContext(module)
    assert torch.equal(whole_BPHW, F.interpolate(plane_BPSS, (60, 40), mode="bilinear"))
    tiles = grid(120, 80, 4, (64, 48))  # this layer works at half the resolution
    for row, column in tiles.positions():
        high, wide = (row.stop - row.start) // 2, (column.stop - column.start) // 2
        with global_context.showing(TileContext(size=tiles.size, positions=[(row, column)], known={})):
            part_BPhw = module(plane_BPSS, torch.empty(1, 1, high, wide))
        part = (
            slice(row.start // 2, row.start // 2 + high),
            slice(column.start // 2, column.start // 2 + wide),
        )
        seen_BPhw = whole_BPHW[..., part[0], part[1]]
        part_BPhw = part_BPhw[..., : seen_BPhw.shape[2], : seen_BPhw.shape[3]]
        assert torch.allclose(part_BPhw, seen_BPhw, atol=1e-5)


def test_of_a_huge_image_a_part_stands_for_the_whole() -> None:
    all_passes = passes(grid(6000, 4000, 8, (1000, 1000)), 8, 10**6)
    for batches in all_passes:
        seen = [position for batch in batches for position in batch]
        assert 0.5 * MOST_PIXELS < sum(map(area, seen)) <= MOST_PIXELS
        assert all(sum(map(area, batch)) <= 10**6 for batch in batches)
        rows = [row.start for row, _ in seen]
        assert min(rows) < 1500 and max(rows) > 4500


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_told(name: str, make_ticket: Any) -> None:
    """The image is dark on one side and bright on the other: what tiles see is not what the whole is."""
    chance = np.random.default_rng(0)
    image_HWC = chance.integers(0, 60, (160, 208, 3), dtype=np.uint8)
    image_HWC[:, 100:] += 180
    ticket = make_ticket(name)
    whole = Restorer(ticket)
    memory = whole.memory_for(112 * 112, image_HWC.shape[:2], 1)
    expected_HWC, told = whole(image_HWC), Restorer(ticket, memory=memory)
    untold = Restorer(ticket, memory=memory)
    untold._first.global_context.showing = lambda context: torch.no_grad()  # type: ignore[assignment, return-value]
    untold._first.global_context.count = 0
    error, before = (
        np.abs(restorer(image_HWC).astype(int) - expected_HWC).mean() for restorer in (told, untold)
    )
    assert error < 0.1 * before or before < 0.02
