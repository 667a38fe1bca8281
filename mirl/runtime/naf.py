"""NAFNet's block that skips zeros, in two passes over the image: before the mean over its pixels, and after.

Dims: B batch, C channels, H height, W width, J hidden channels; P parts of the image.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mirl.networks.nafnet import NafBlock
from mirl.runtime import kernels
from mirl.runtime.convolution import SIZES, any_of, norm_of, pairs_of, rows_from
from mirl.runtime.global_mean import mean_over
from mirl.runtime.images import IMAGES
from mirl.runtime.kernels import BATCH
from mirl.runtime.levels import ONE_LEVEL, Levels, in_order
from mirl.runtime.planes import Part, Tiles
from mirl.runtime.rows import Rows
from mirl.runtime.thread_pool import ThreadPool
from mirl.runtime.tiles import Grid, cut
from mirl.runtime.vectors import SIDE


class SparseNafBlock(nn.Module):
    """`NafBlock` that skips zeros, and the hidden channels that the mask left dead.

    Of several sub-networks, one works at each place; all have the same attention.
    """

    def __init__(self, blocks: Sequence[NafBlock], pool: ThreadPool, levels: Levels = ONE_LEVEL) -> None:
        """`blocks`: the same block with the weights of each sub-network."""
        super().__init__()
        self._blocks, self._pool, self._levels = blocks, pool, levels
        live = torch.cat([live_gated_channels(block) for block in blocks])
        self._gated = torch.unique(live)
        self._hidden = [live_hidden_channels(block) for block in blocks]
        self._mixing = lru_cache(SIZES)(lambda grid: [self._make_mixing(block, grid) for block in blocks])
        self._feeding = lru_cache(SIZES)(
            lambda grid: [self._make_feeding(*each, grid) for each in zip(blocks, self._hidden)]
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW, out_BCHW = x_BCHW.contiguous(), IMAGES.empty(x_BCHW.shape)
        gated_BJHW = out_BCHW[:, : len(self._gated)]  # a tile is read before it is written

        def sums(counted: Sequence[Part]) -> list[Tensor]:
            return self._gate(x_BCHW.numpy(), gated_BJHW.numpy(), counted)

        mean_BC = mean_over(self._blocks[0].mix_statistic, x_BCHW.shape, sums)
        weights = [self._channel_weights(mean_C) for mean_C in mean_BC]
        self._feed(x_BCHW.numpy(), gated_BJHW.numpy(), weights, out_BCHW.numpy())
        return out_BCHW

    def _gate(self, x_BCHW: np.ndarray, gated_BJHW: np.ndarray, counted: Sequence[Part]) -> list[Tensor]:
        """Write the gated channels; return the sums of all channels (C) of each image, 0 for dead ones."""
        B, C, H, W = x_BCHW.shape
        planes = C + SIDE + BATCH
        grid = cut(H, W, planes, 1, self._levels.side(H))
        layers = self._mixing(grid)
        sums_BPJ = np.zeros((B, self._pool.parts(grid), len(self._gated)), np.float32)
        for number, tiles in enumerate(in_order(self._levels, grid, (B, H, W), len(layers))):

            def work(part: int, some: Tiles, memory: np.ndarray, number: int = number) -> None:
                total = kernels.Total(counted[number], sums_BPJ[number, part])
                x_CHW, gated_JHW = x_BCHW[number], gated_BJHW[number]
                kernels.gate_neighbours(x_CHW, some, layers[some.level], gated_JHW, total, memory)

            self._pool.run(work, tiles, planes)
        return [
            torch.zeros(C).index_put((self._gated,), torch.from_numpy(sums_PJ.sum(0))) for sums_PJ in sums_BPJ
        ]

    def _channel_weights(self, mean_C: Tensor) -> Tensor:
        """Return the weight of each gated channel, from the means of all channels."""
        attention = self._blocks[0].mix_attention
        return (attention.weight.flatten(1) @ mean_C + _bias(attention))[self._gated]

    def _feed(
        self, x_BCHW: np.ndarray, gated_BJHW: np.ndarray, weights: Sequence[Tensor], out_BCHW: np.ndarray
    ) -> None:
        B, C, H, W = x_BCHW.shape
        hidden = max(-(-len(each) // SIDE) * SIDE for each in self._hidden)
        planes = max(len(self._gated), hidden) + 2 * C + BATCH
        grid = cut(H, W, planes, 0, self._levels.side(H))
        feeding = self._feeding(grid)
        for number, tiles in enumerate(in_order(self._levels, grid, (B, H, W), len(feeding))):
            layers = [
                kernels.Pointwise(self._make_mix(block, weights[number], grid), each)
                for block, each in zip(self._blocks, feeding, strict=True)
            ]

            def work(
                part: int, some: Tiles, memory: np.ndarray, number: int = number, layers: Any = layers
            ) -> None:
                x_CHW, gated_JHW, out_CHW = x_BCHW[number], gated_BJHW[number], out_BCHW[number]
                kernels.feed_pixels(gated_JHW, some, layers[some.level], x_CHW, out_CHW, memory)

            self._pool.run(work, tiles, planes)

    def _make_mixing(self, block: NafBlock, grid: Grid) -> kernels.Mixing:
        return kernels.Mixing(
            norm_of(block.mix_norm),
            pairs_of(block.mix_in, grid, self._gated),
            pairs_of(block.mix_depthwise, grid, self._gated),
        )

    def _make_mix(self, block: NafBlock, weight_J: Tensor, grid: Grid) -> Rows:
        scale_C111 = block.mix_scale.reshape(-1, 1, 1, 1)
        weight_CJ11 = block.mix_out.weight[:, self._gated] * weight_J[:, None, None] * scale_C111
        return rows_from(weight_CJ11, _bias(block.mix_out) * scale_C111.flatten(), grid)

    @staticmethod
    def _make_feeding(block: NafBlock, hidden: Tensor, grid: Grid) -> kernels.Feeding:
        scale_C111 = block.feed_scale.reshape(-1, 1, 1, 1)
        weight_CJ11 = block.feed_out.weight[:, hidden] * scale_C111
        return kernels.Feeding(
            norm_of(block.feed_norm),
            pairs_of(block.feed_in, grid, hidden),
            rows_from(weight_CJ11, _bias(block.feed_out) * scale_C111.flatten(), grid),
            -(-len(hidden) // SIDE) * SIDE,
        )


def live_gated_channels(block: NafBlock) -> Tensor:
    """Return the gated channels that matter: both factors can differ from 0, and their product or its mean is used."""
    live = _live_outputs(block.mix_depthwise, any_of(block.mix_in.weight) | (_bias(block.mix_in) != 0))
    left, right = live.chunk(2)
    used = any_of(block.mix_out.weight.transpose(0, 1)) | any_of(block.mix_attention.weight.transpose(0, 1))
    return torch.nonzero(left & right & used).flatten()


def live_hidden_channels(block: NafBlock) -> Tensor:
    """Return the hidden channels that matter: both factors can differ from 0, and their product is used."""
    left, right = _live_outputs(block.feed_in).chunk(2)
    return torch.nonzero(left & right & any_of(block.feed_out.weight.transpose(0, 1))).flatten()


def _live_outputs(conv: nn.Conv2d, live_inputs: Tensor | None = None) -> Tensor:
    """Return, for each output, whether it can differ from 0."""
    weighted = any_of(conv.weight)
    return (weighted if live_inputs is None else weighted & live_inputs) | (_bias(conv) != 0)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None, "every convolution of a NAFNet block has a bias"
    return conv.bias
