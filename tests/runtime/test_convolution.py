"""A convolution against torch's, over image sizes that tiles divide and do not divide."""

import pytest
import torch
from torch import nn

from mirl.runtime.convolution import SparseConv
from mirl.runtime.thread_pool import ThreadPool
from tests.runtime.conftest import SIZES, prune


@pytest.mark.usefixtures("tile_size")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("side", "bias"), [(1, True), (1, False), (3, True), (3, False)])
def test_a_convolution(size: tuple[int, int], side: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 9, side, padding=side // 2, bias=bias).requires_grad_(False)
    prune(conv, 0.3)
    x_BCHW = torch.randn(2, 5, *size)
    sparse = SparseConv([conv], ThreadPool(2))
    torch.testing.assert_close(sparse(x_BCHW), conv(x_BCHW), atol=1e-5, rtol=0)
