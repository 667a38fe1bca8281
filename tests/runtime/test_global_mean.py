"""What the kernels say of pieces of an image is what the network says of them."""

import pytest
import torch

from mirl.networks import NETWORKS, NetworkSection, build
from mirl.restore.global_context import GlobalContext, Statistics, TileContext
from mirl.restore.tile import grid
from mirl.runtime.engine import accelerate
from mirl.runtime.global_mean import _parts
from mirl.runtime.planes import Part
from tests.conftest import TINY

LOCAL = {"edsr", "fsrcnn"}
"""Networks that take no statistic of the whole image."""


@pytest.mark.parametrize("name", NETWORKS)
def test_only_the_cores_of_tiles_count(name: str) -> None:
    network = build(NetworkSection(name=name, options=TINY[name], seed=1)).eval().requires_grad_(False)
    global_context, side = GlobalContext(network), 8 * network.multiple
    tiles = grid(3 * side, 2 * side, network.multiple, (side, side), even=True)
    positions = tiles.positions()[:3]
    assert any(span.core != (0, span.stop - span.start) for position in positions for span in position)
    x_Bchw = torch.rand(
        3, 3, *(span.stop - span.start for span in positions[0]), generator=torch.Generator().manual_seed(0)
    )
    told: list[Statistics] = []
    for form in (network, accelerate(network, threads=1)):
        found: Statistics = {}
        with global_context.showing(TileContext(size=tiles.size, positions=positions, known={}, found=found)):
            form(x_Bchw)
        told.append(found)
    assert len(told[0]) == global_context.count
    assert (global_context.count == 0) == (name in LOCAL)
    torch.testing.assert_close(told[1], told[0], atol=1e-5, rtol=1e-4)


def test_cores_that_together_are_as_large_as_an_image_are_not_one() -> None:
    place = torch.cat([torch.arange(8).view(2, 4)[:1], torch.arange(8, 16).view(2, 4)[1:]])
    assert _parts(place, width=4, area=8) == {0: Part(0, 1, 0, 4), 1: Part(1, 2, 0, 4)}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_tile_that_is_told_gives_what_the_network_gives(name: str) -> None:
    network = build(NetworkSection(name=name, options=TINY[name], seed=1)).eval().requires_grad_(False)
    global_context, side = GlobalContext(network), 4 * network.multiple
    tiles = grid(2 * side, 2 * side, network.multiple, (2 * side, 2 * side), even=True)
    known: Statistics = {}
    with global_context.showing(
        TileContext(size=tiles.size, positions=tiles.positions(), known={}, found=known)
    ):
        network(torch.rand(1, 3, 2 * side, 2 * side))
    part = grid(2 * side, 2 * side, network.multiple, (side, side), even=True)
    context = TileContext(size=part.size, positions=part.positions()[:1], known=known)
    x_Bchw = torch.rand(1, 3, *(span.stop - span.start for span in context.positions[0]))
    with global_context.showing(context):
        torch.testing.assert_close(accelerate(network, 1)(x_Bchw), network(x_Bchw), atol=1e-5, rtol=0)
