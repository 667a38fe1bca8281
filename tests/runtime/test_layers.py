"""Each layer against torch's, over image sizes that tiles divide and do not divide."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mirl.networks.layers import GatedFeedForward, TransformerBlock
from mirl.runtime import planes, tiles, vectors
from mirl.runtime.crew import Crew
from mirl.runtime.layers import SparseConv, SparseTransformerBlock, living
from mirl.runtime.tiles import cut

SIZES = [(1, 1), (3, 5), (16, 16), (17, 129), (70, 66)]


def prune(module: nn.Module, density: float) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(torch.rand(layer.weight.shape, generator=generator) < density)


@pytest.fixture(autouse=True, params=["tiles as usual", "tiny tiles"])
def tile_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "tiny tiles":
        monkeypatch.setattr(tiles, "CACHE", 1)
        monkeypatch.setattr(tiles, "COLUMNS", 7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("side", "bias"), [(1, True), (1, False), (3, True), (3, False)])
def test_a_convolution(size: tuple[int, int], side: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 9, side, padding=side // 2, bias=bias).requires_grad_(False)
    prune(conv, 0.3)
    x_BCHW, below_BCHW = torch.randn(2, 5, *size), torch.randn(2, 9, *size)
    quick = SparseConv(conv, Crew(2))
    torch.testing.assert_close(quick(x_BCHW), conv(x_BCHW), atol=1e-5, rtol=0)
    torch.testing.assert_close(quick(x_BCHW, below_BCHW), conv(x_BCHW) + below_BCHW, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("density", [1.0, 0.3, 0.05, 0.0])
def test_a_transformer_block(size: tuple[int, int], density: float) -> None:
    torch.manual_seed(0)
    block = TransformerBlock(8, 2, 2.66).requires_grad_(False)
    prune(block, density)
    block.attention_norm.bias.normal_()
    block.feed_norm.weight.normal_()
    x_BCHW = torch.randn(2, 8, *size)
    torch.testing.assert_close(
        SparseTransformerBlock(block, Crew(2))(x_BCHW), block(x_BCHW), atol=2e-5, rtol=0
    )


def test_a_hidden_channel_without_gate_value_or_use_is_left_out() -> None:
    feed = GatedFeedForward(4, 2.0)
    with torch.no_grad():
        feed.project_in.weight[0] = 0  # gate of 0
        feed.depthwise.weight[8 + 3] = 0  # value of 3
        feed.project_out.weight[:, 5] = 0
    assert living(feed).tolist() == [1, 2, 4, 6, 7]


def test_gelu_is_right_to_two_millionths() -> None:
    x = np.concatenate([np.linspace(-12, 12, 100_001), [0.0, -1e-30, 1e30, -1e30]]).astype(np.float32)
    value = np.empty_like(x)
    planes.gate_gelu(x, np.ones_like(x), value)
    wanted = np.array([v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in x.astype(np.float64)])
    assert (np.abs(value - wanted) <= 2e-6 * np.maximum(1, np.abs(wanted))).all()


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
