"""A convolution against torch's, over image sizes that tiles divide and do not divide."""

import pytest
import torch
from torch import nn

from mirl.networks.layers import Upsampling
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


@pytest.mark.usefixtures("tile_size")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_a_convolution_of_squares(size: tuple[int, int], factor: int, density: float) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 9, factor, stride=factor).requires_grad_(False)
    prune(conv, density)
    height, width = size
    x_BCHW = torch.randn(2, 3, height * factor + factor - 1, width * factor)
    sparse = SparseConv([conv], ThreadPool(2))
    torch.testing.assert_close(sparse(x_BCHW), conv(x_BCHW), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("tile_size")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("side", [1, 3])
def test_an_upsampling(size: tuple[int, int], factor: int, side: int) -> None:
    torch.manual_seed(0)
    conv = Upsampling(6, 3, factor, side, bias=side == 3).requires_grad_(False)
    prune(conv, 0.5)
    x_BCHW = torch.randn(2, 6, *size)
    skip_BCHW = torch.randn(2, 3, *(factor * length for length in size))
    sparse = SparseConv([conv], ThreadPool(2))
    torch.testing.assert_close(sparse(x_BCHW, skip_BCHW), conv(x_BCHW, skip_BCHW), atol=1e-5, rtol=0)
    torch.testing.assert_close(sparse(x_BCHW), conv(x_BCHW), atol=1e-5, rtol=0)
