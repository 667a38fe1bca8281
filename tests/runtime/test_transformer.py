"""The transformer block against torch's, over image sizes that tiles divide and do not divide."""

import pytest
import torch

from mirl.networks.layers import GatedFeedForward, TransformerBlock
from mirl.runtime.thread_pool import ThreadPool
from mirl.runtime.transformer import SparseTransformerBlock, live_hidden_channels
from tests.runtime.conftest import SIZES, prune


@pytest.mark.usefixtures("tile_size")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("density", [1.0, 0.3, 0.05, 0.0])
@pytest.mark.parametrize("heads", [2, 4])
def test_a_transformer_block(size: tuple[int, int], density: float, heads: int) -> None:
    torch.manual_seed(0)
    block = TransformerBlock(8, heads, 2.66).requires_grad_(False)
    prune(block, density)
    block.attention_norm.bias.normal_()
    block.feed_norm.weight.normal_()
    x_BCHW = torch.randn(2, 8, *size)
    torch.testing.assert_close(
        SparseTransformerBlock(block, ThreadPool(2))(x_BCHW), block(x_BCHW), atol=2e-5, rtol=0
    )


def test_a_hidden_channel_without_gate_value_or_use_is_left_out() -> None:
    feed = GatedFeedForward(4, 2.0)
    with torch.no_grad():
        feed.project_in.weight[0] = 0  # gate of 0
        feed.depthwise.weight[8 + 3] = 0  # value of 3
        feed.project_out.weight[:, 5] = 0
    assert live_hidden_channels(feed).tolist() == [1, 2, 4, 6, 7]
