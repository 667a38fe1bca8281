"""Restormer's transformer block that skips zeros: attention in two passes over the image, feed-forward in one.

Dims: B batch, C channels, D channels of a head, H height, W width, h heads, E = D + 2; P parts of the image.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from mirl.networks.layers import ChannelAttention, ChannelNorm, GatedFeedForward, TransformerBlock, cosine
from mirl.runtime import kernels
from mirl.runtime.convolution import SIZES, any_of, norm_of, pairs_of, rows_from, rows_of
from mirl.runtime.global_mean import mean_over
from mirl.runtime.images import IMAGES
from mirl.runtime.kernels import BATCH
from mirl.runtime.planes import Part, Tiles
from mirl.runtime.rows import ALONE, DENSE
from mirl.runtime.thread_pool import ThreadPool, all_tiles
from mirl.runtime.tiles import cut
from mirl.runtime.vectors import SIDE


class SparseAttention(nn.Module):
    """Attention half of a transformer block: x + attention(norm(x))."""

    def __init__(self, norm: ChannelNorm, attention: ChannelAttention, pool: ThreadPool) -> None:
        super().__init__()
        self._attention, self._pool = attention, pool
        deep = attention.project_out.in_channels // attention.heads
        dense = DENSE if deep % SIDE == 0 else ALONE  # rows of a head must begin with a group
        self._mixing = lru_cache(SIZES)(
            lambda grid: kernels.Mixing(
                norm_of(norm),
                rows_of(attention.project_in, grid, dense=dense),
                rows_of(attention.depthwise, grid),
            )
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        v_BCHW, out_BCHW = IMAGES.empty(x_BCHW.shape), IMAGES.empty(x_BCHW.shape)

        def products(counted: Sequence[Part]) -> list[Tensor]:
            each = zip(x_BCHW.numpy(), v_BCHW.numpy(), counted, strict=True)
            return [self._products(x, v, part) for x, v, part in each]

        products_BhDE = mean_over(self._attention.statistic, x_BCHW.shape, products)
        weight_BhDD = torch.softmax(cosine(products_BhDE) * self._attention.temperature, dim=-1)
        for x, v, weight, out in zip(x_BCHW.numpy(), v_BCHW.numpy(), weight_BhDD, out_BCHW.numpy()):
            self._output(v, weight, out, x)
        return out_BCHW

    def _products(self, x_CHW: np.ndarray, v_CHW: np.ndarray, counted: Part) -> Tensor:
        """Write the values; return the sums of queries times keys and of their squares, of shape (h, D, D + 2)."""
        C, H, W = x_CHW.shape
        heads = self._attention.heads
        deep = C // heads
        planes = C + deep + 2 * BATCH
        grid = cut(H, W, planes, 1)
        layer, parts = self._mixing(grid), self._pool.parts(grid)
        dots_PhDD = np.zeros((parts, heads, deep, deep), np.float32)
        squares_P2hD = np.zeros((parts, 2, heads, deep), np.float32)

        def work(part: int, tiles: Tiles, memory: np.ndarray) -> None:
            products = kernels.Products(counted, dots_PhDD[part], squares_P2hD[part])
            kernels.attention_products(x_CHW, tiles, layer, v_CHW, products, memory)

        self._pool.run(work, all_tiles(grid), planes)
        squares_2hD, dots_hDD = torch.from_numpy(squares_P2hD.sum(0)), torch.from_numpy(dots_PhDD.sum(0))
        return torch.cat([dots_hDD, *squares_2hD[..., None]], dim=-1)

    def _output(self, v_CHW: np.ndarray, weight_hDD: Tensor, out_CHW: np.ndarray, x_CHW: np.ndarray) -> None:
        """Write the residual plus the projected sums of weighted values, with weights and projection as one matrix."""
        C, H, W = x_CHW.shape
        project_ChD = self._attention.project_out.weight.reshape(C, *weight_hDD.shape[:2])
        weight_CC11 = torch.einsum("chd,hde->che", project_ChD, weight_hDD).reshape(C, C, 1, 1)
        planes = C + -(-C // SIDE) * SIDE
        grid = cut(H, W, planes, 0)
        matrix = rows_from(weight_CC11, None, grid)

        def work(part: int, tiles: Tiles, memory: np.ndarray) -> None:
            kernels.attention_output(v_CHW, tiles, matrix, out_CHW, x_CHW, memory)

        self._pool.run(work, all_tiles(grid), planes)


class SparseFeedForward(nn.Module):
    """Feed-forward half of a transformer block, x + feed(norm(x)), without the hidden channels that the mask left dead."""

    def __init__(self, norm: ChannelNorm, feed: GatedFeedForward, pool: ThreadPool) -> None:
        super().__init__()
        self._pool = pool
        live = live_hidden_channels(feed)
        self._hidden = -(-len(live) // SIDE) * SIDE
        self._layer = lru_cache(SIZES)(
            lambda grid: kernels.FeedForward(
                kernels.Mixing(
                    norm_of(norm), pairs_of(feed.project_in, grid, live), pairs_of(feed.depthwise, grid, live)
                ),
                rows_of(feed.project_out, grid, inputs=live),
                self._hidden,
            )
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out_BCHW = IMAGES.empty(x_BCHW.shape)
        for x, out in zip(x_BCHW.numpy(), out_BCHW.numpy()):
            self._run(x, out)
        return out_BCHW

    def _run(self, x_CHW: np.ndarray, out_CHW: np.ndarray) -> None:
        C, H, W = x_CHW.shape
        planes = C + self._hidden + 2 * BATCH
        grid = cut(H, W, planes, 1)
        layer = self._layer(grid)

        def work(part: int, tiles: Tiles, memory: np.ndarray) -> None:
            kernels.feed_forward(x_CHW, tiles, layer, out_CHW, memory)

        self._pool.run(work, all_tiles(grid), planes)


class SparseTransformerBlock(nn.Module):
    """`TransformerBlock` that skips zeros."""

    def __init__(self, block: TransformerBlock, pool: ThreadPool) -> None:
        super().__init__()
        self.attention = SparseAttention(block.attention_norm, block.attention, pool)
        self.feed = SparseFeedForward(block.feed_norm, block.feed, pool)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = self.feed(self.attention(x_BCHW.contiguous()))
        return y_BCHW


def live_hidden_channels(feed: GatedFeedForward) -> Tensor:
    """Return the hidden channels that matter: gate, value and output projection each have a weight that is not 0."""
    live = any_of(feed.project_in.weight) & any_of(feed.depthwise.weight)
    gate, value = live.chunk(2)
    return torch.nonzero(gate & value & any_of(feed.project_out.weight.transpose(0, 1))).flatten()
