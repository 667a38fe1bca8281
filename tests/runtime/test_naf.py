"""NAFNet's block against torch's, over image sizes that tiles divide and do not divide."""

import pytest
import torch

from mirl.networks.nafnet import NafBlock
from mirl.runtime.naf import SparseNafBlock, live_gated_channels, live_hidden_channels
from mirl.runtime.thread_pool import ThreadPool
from tests.runtime.conftest import SIZES, prune


def random_block(channels: int) -> NafBlock:
    """With biases, gains and scales that are not what they start as."""
    torch.manual_seed(0)
    block = NafBlock(channels).requires_grad_(False)
    for name, parameter in block.named_parameters():
        if not name.endswith("weight") or "norm" in name:
            parameter.normal_()
    return block


@pytest.mark.usefixtures("tile_size")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("density", [1.0, 0.3, 0.0])
def test_a_block(size: tuple[int, int], density: float) -> None:
    block = random_block(6)
    prune(block, density)
    x_BCHW = torch.randn(2, 6, *size)
    wanted_BCHW = block(x_BCHW)
    error = (
        SparseNafBlock([block], ThreadPool(2))(x_BCHW) - wanted_BCHW
    ).abs().max() / wanted_BCHW.abs().max()
    assert error < 2e-6


def test_a_block_that_says_nothing() -> None:
    block = random_block(6)
    for parameter in block.parameters():
        parameter.data.zero_()
    x_BCHW = torch.randn(1, 6, 9, 9)
    assert torch.equal(SparseNafBlock([block], ThreadPool(1))(x_BCHW), x_BCHW)


def test_channels_without_factor_or_use_are_left_out_of_the_mixing() -> None:
    block = random_block(5)
    assert block.mix_depthwise.bias is not None
    for conv in (block.mix_in, block.mix_depthwise):
        assert conv.bias is not None
        conv.bias.data.zero_()
    block.mix_in.weight.data[0] = 0  # left factor of 0
    block.mix_depthwise.weight.data[5 + 1] = 0  # right factor of 1
    block.mix_depthwise.weight.data[2] = 0
    block.mix_depthwise.bias.data[2] = 1  # a constant, but not 0
    for conv in (block.mix_out, block.mix_attention):
        conv.weight.data[:, 3] = 0
    block.mix_out.weight.data[:, 4] = 0  # still in the mean that attention sees
    assert live_gated_channels(block).tolist() == [2, 4]
    x_BCHW = torch.randn(1, 5, 20, 20)
    torch.testing.assert_close(
        SparseNafBlock([block], ThreadPool(1))(x_BCHW), block(x_BCHW), atol=1e-4, rtol=1e-5
    )


def test_channels_without_factor_or_use_are_left_out_of_the_feed() -> None:
    block = random_block(4)
    assert block.feed_in.bias is not None
    block.feed_in.bias.data.zero_()
    block.feed_in.weight.data[1] = 0
    block.feed_in.weight.data[4 + 2] = 0
    block.feed_in.bias.data[4 + 2] = 1
    block.feed_out.weight.data[:, 3] = 0
    assert live_hidden_channels(block).tolist() == [0, 2]
