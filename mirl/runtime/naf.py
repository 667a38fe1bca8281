"""NAFNet's block that skips zeros, in two passes over the image: before the mean over its pixels, and after.

Dims: B batch, C channels, H height, W width, J hidden channels; P parts of the image.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from mirl.networks.nafnet import NafBlock
from mirl.runtime import kernels
from mirl.runtime.convolution import SIZES, any_of, empty, norm_of, pairs_of, rows_from, rows_of
from mirl.runtime.global_mean import mean_over
from mirl.runtime.kernels import BATCH
from mirl.runtime.planes import Part, Tiles
from mirl.runtime.thread_pool import ThreadPool
from mirl.runtime.tiles import Grid, cut


class SparseNafBlock(nn.Module):
    """`NafBlock` that skips zeros, and the hidden channels that the mask has silenced."""

    def __init__(self, block: NafBlock, pool: ThreadPool) -> None:
        super().__init__()
        self._block, self._pool = block, pool
        self._gated, self._hidden = living_in_mix(block), living_in_feed(block)
        self._mixing = lru_cache(SIZES)(self._make_mixing)
        self._feeding = lru_cache(SIZES)(self._make_feeding)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW, out_BCHW = x_BCHW.contiguous(), empty(x_BCHW.shape)
        gated_BJHW = empty((len(x_BCHW), len(self._gated), *x_BCHW.shape[2:]))

        def sums(counted: Sequence[Part]) -> list[Tensor]:
            each = zip(x_BCHW.numpy(), gated_BJHW.numpy(), counted, strict=True)
            return [self._gate(x, gated, part) for x, gated, part in each]

        mean_BC = mean_over(self._block.mix_statistic, x_BCHW.shape, sums)
        for x, gated, mean_C, out in zip(x_BCHW.numpy(), gated_BJHW.numpy(), mean_BC, out_BCHW.numpy()):
            self._feed(x, gated, self._weigh(mean_C), out)
        return out_BCHW

    def _gate(self, x_CHW: np.ndarray, gated_JHW: np.ndarray, counted: Part) -> Tensor:
        """Write the gated channels; return the sums of all channels (C), 0 for silent ones, which are not computed."""
        C, H, W = x_CHW.shape
        planes = C + 2 * BATCH
        grid = cut(H, W, planes, 1)
        layer = self._mixing(grid)
        sums_PJ = np.zeros((self._pool.parts(grid), len(gated_JHW)), np.float32)

        def work(part: int, tiles: Tiles, memory: np.ndarray) -> None:
            total = kernels.Total(counted, sums_PJ[part])
            kernels.gate_neighbours(x_CHW, tiles, layer, gated_JHW, total, memory)

        self._pool.run(work, grid, planes)
        return torch.zeros(C).index_put((self._gated,), torch.from_numpy(sums_PJ.sum(0)))

    def _weigh(self, mean_C: Tensor) -> Tensor:
        """Compute the weight of each gated channel from the means of all channels."""
        attention = self._block.mix_attention
        return (attention.weight.flatten(1) @ mean_C + _bias(attention))[self._gated]

    def _feed(self, x_CHW: np.ndarray, gated_JHW: np.ndarray, weight_J: Tensor, out_CHW: np.ndarray) -> None:
        C, H, W = x_CHW.shape
        planes = len(gated_JHW) + C + len(self._hidden) + 2 * BATCH
        grid = cut(H, W, planes, 0)
        block, scale_C111 = self._block, self._block.mix_scale.reshape(C, 1, 1, 1)
        weight_CJ11 = block.mix_out.weight[:, self._gated] * weight_J[:, None, None] * scale_C111
        mix = rows_from(weight_CJ11, _bias(block.mix_out) * scale_C111.flatten(), grid)
        layer = kernels.Pointwise(mix, self._feeding(grid))

        def work(part: int, tiles: Tiles, memory: np.ndarray) -> None:
            kernels.feed_pixels(gated_JHW, tiles, layer, x_CHW, out_CHW, memory)

        self._pool.run(work, grid, planes)

    def _make_mixing(self, grid: Grid) -> kernels.Mixing:
        block, pairs = self._block, pairs_of(self._gated, self._block.mix_in)
        return kernels.Mixing(
            norm_of(block.mix_norm),
            rows_of(block.mix_in, grid, pairs),
            rows_of(block.mix_depthwise, grid, pairs),
        )

    def _make_feeding(self, grid: Grid) -> kernels.Feeding:
        block, scale_C111 = self._block, self._block.feed_scale.reshape(-1, 1, 1, 1)
        weight_CJ11 = block.feed_out.weight[:, self._hidden] * scale_C111
        return kernels.Feeding(
            norm_of(block.feed_norm),
            rows_of(block.feed_in, grid, pairs_of(self._hidden, block.feed_in)),
            rows_from(weight_CJ11, _bias(block.feed_out) * scale_C111.flatten(), grid),
            len(self._hidden),
        )


def living_in_mix(block: NafBlock) -> Tensor:
    """Return the gated channels that matter: both factors can differ from 0, and their product or its mean is used."""
    speaks = _speaks(block.mix_depthwise, any_of(block.mix_in.weight) | (_bias(block.mix_in) != 0))
    left, right = speaks.chunk(2)
    used = any_of(block.mix_out.weight.transpose(0, 1)) | any_of(block.mix_attention.weight.transpose(0, 1))
    return torch.nonzero(left & right & used).flatten()


def living_in_feed(block: NafBlock) -> Tensor:
    """Return the hidden channels that matter: both factors can differ from 0, and their product is used."""
    left, right = _speaks(block.feed_in).chunk(2)
    return torch.nonzero(left & right & any_of(block.feed_out.weight.transpose(0, 1))).flatten()


def _speaks(conv: nn.Conv2d, input_speaks: Tensor | None = None) -> Tensor:
    """Return, for each output, whether it can differ from 0."""
    heard = any_of(conv.weight)
    return (heard if input_speaks is None else heard & input_speaks) | (_bias(conv) != 0)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None, "every convolution of a NAFNet block has a bias"
    return conv.bias
