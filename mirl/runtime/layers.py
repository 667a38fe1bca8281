"""Layers of a network, made to skip zeros. Planar memory: BCHW, each channel's rows behind one another.

Dims: B batch, C channels, D channels of a head, H height, W width, N pixels (H * W), h heads; O output and I input channels.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from mirl.networks.layers import ChannelAttention, ChannelNorm, GatedFeedForward, TransformerBlock
from mirl.runtime import kernels
from mirl.runtime.crew import Crew
from mirl.runtime.kernels import BATCH
from mirl.runtime.planes import Norm, Tiles
from mirl.runtime.rows import Rows, make_rows
from mirl.runtime.tiles import Grid, cut

SIZES = 2
"""Picture sizes for which a layer keeps its rows: 8 bytes for each weight and size."""


class SparseConv(nn.Module):
    """A convolution of stride 1, 1x1 or 3x3, with zero padding."""

    def __init__(self, conv: nn.Conv2d, crew: Crew) -> None:
        super().__init__()
        self._conv, self._crew, self._border = conv, crew, conv.kernel_size[0] // 2
        self._rows = lru_cache(SIZES)(lambda grid: rows_of(conv, grid))

    def forward(self, x_BCHW: Tensor, residual_BCHW: Tensor | None = None) -> Tensor:
        """The convolution, on top of `residual_BCHW` if there is one."""
        B, C, H, W = x_BCHW.shape
        grid = cut(H, W, C + BATCH, self._border)
        out_BCHW = _empty((B, self._conv.out_channels, H, W))
        below_BCHW = torch.empty(B, 0, H, W) if residual_BCHW is None else residual_BCHW
        for x, out, below in zip(x_BCHW.contiguous().numpy(), out_BCHW.numpy(), below_BCHW.numpy()):
            self._run(x, out, below, grid)
        return out_BCHW

    def _run(self, x_CHW: np.ndarray, out_OHW: np.ndarray, below_OHW: np.ndarray, grid: Grid) -> None:
        rows = self._rows(grid)

        def work(part: int, tiles: Tiles, memory: np.ndarray) -> None:
            kernels.convolve(x_CHW, tiles, rows, out_OHW, below_OHW, memory)

        self._crew.run(work, grid, len(x_CHW) + BATCH)


class SparseAttention(nn.Module):
    """x + attention(norm(x)) of a transformer block."""

    def __init__(self, norm: ChannelNorm, attention: ChannelAttention, crew: Crew) -> None:
        super().__init__()
        self._attention, self._crew = attention, crew
        self._project = lru_cache(SIZES)(lambda grid: rows_of(attention.project_out, grid))
        self._mixing = lru_cache(SIZES)(
            lambda grid: kernels.Mixing(
                _norm(norm), rows_of(attention.project_in, grid), rows_of(attention.depthwise, grid)
            )
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        v_BCHW, out_BCHW = _empty(x_BCHW.shape), _empty(x_BCHW.shape)
        for x, v, out in zip(x_BCHW.numpy(), v_BCHW.numpy(), out_BCHW.numpy()):
            self._weigh(v, self._compare(x, v), out, x)
        return out_BCHW

    def _compare(self, x_CHW: np.ndarray, v_CHW: np.ndarray) -> Tensor:
        """Writes the values, returns the weights: (h, D, D)."""
        C, H, W = x_CHW.shape
        heads = self._attention.heads
        deep = C // heads
        planes = C + deep + 3 * BATCH
        grid = cut(H, W, planes, 1)
        layer, parts = self._mixing(grid), self._crew.parts(grid)
        dots_PhDD = np.zeros((parts, heads, deep, deep), np.float32)
        squares_P2hD = np.zeros((parts, 2, heads, deep), np.float32)

        def work(part: int, tiles: Tiles, memory: np.ndarray) -> None:
            products = kernels.Products(dots_PhDD[part], squares_P2hD[part])
            kernels.compare(x_CHW, tiles, layer, v_CHW, products, memory)

        self._crew.run(work, grid, planes)
        q_hD, k_hD = torch.from_numpy(squares_P2hD.sum(0)).sqrt()
        q_hD, k_hD = (torch.where(norm > 0, norm, torch.inf) for norm in (q_hD, k_hD))  # as inverse_norm does
        cosine_hDD = torch.from_numpy(dots_PhDD.sum(0)) / q_hD[..., None] / k_hD[:, None]
        return torch.softmax(cosine_hDD * self._attention.temperature, dim=-1)

    def _weigh(self, v_CHW: np.ndarray, weight_hDD: Tensor, out_CHW: np.ndarray, x_CHW: np.ndarray) -> None:
        C, H, W = x_CHW.shape
        heads, deep = weight_hDD.shape[:2]
        grid = cut(H, W, 2 * C + BATCH, 0)
        offsets_hDD = np.arange(C).reshape(heads, 1, deep) * grid.plane
        weights = make_rows(
            weight_hDD.reshape(C, deep, 1).numpy(), offsets_hDD.repeat(deep, 1).reshape(C, deep, 1)
        )
        layer = kernels.Weighing(weights, self._project(grid))

        def work(part: int, tiles: Tiles, memory: np.ndarray) -> None:
            kernels.weigh(v_CHW, tiles, layer, out_CHW, x_CHW, memory)

        self._crew.run(work, grid, 2 * C + BATCH)


class SparseFeedForward(nn.Module):
    """x + feed(norm(x)) of a transformer block, without the hidden channels that the mask has silenced."""

    def __init__(self, norm: ChannelNorm, feed: GatedFeedForward, crew: Crew) -> None:
        super().__init__()
        self._crew = crew
        alive = living(feed)
        self._hidden = len(alive)
        pairs = torch.stack([alive, alive + feed.project_out.in_channels], 1).flatten()
        self._layer = lru_cache(SIZES)(
            lambda grid: kernels.FeedForward(
                kernels.Mixing(
                    _norm(norm), rows_of(feed.project_in, grid, pairs), rows_of(feed.depthwise, grid, pairs)
                ),
                rows_of(feed.project_out, grid, inputs=alive),
            )
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out_BCHW = _empty(x_BCHW.shape)
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

        self._crew.run(work, grid, planes)


class SparseTransformerBlock(nn.Module):
    """A `TransformerBlock` that skips zeros."""

    def __init__(self, block: TransformerBlock, crew: Crew) -> None:
        super().__init__()
        self.attention = SparseAttention(block.attention_norm, block.attention, crew)
        self.feed = SparseFeedForward(block.feed_norm, block.feed, crew)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.feed(self.attention(x_BCHW.contiguous()))


def rows_of(conv: nn.Conv2d, grid: Grid, outputs: Tensor | None = None, inputs: Tensor | None = None) -> Rows:
    """The rows of a convolution over tiles of `grid`: some of its outputs, from some of its inputs (None: all)."""
    weight_OIkk = conv.weight.detach()
    bias_O = torch.zeros(len(weight_OIkk)) if conv.bias is None else conv.bias.detach()
    if outputs is not None:
        weight_OIkk, bias_O = weight_OIkk[outputs], bias_O[outputs]
    if inputs is not None:
        weight_OIkk = weight_OIkk[:, inputs]
    side = conv.kernel_size[0]
    steps = np.arange(side) - side // 2
    taps_T = (steps[:, None] * grid.pitch + steps).reshape(-1)
    offsets_IT = np.arange(weight_OIkk.shape[1])[:, None] * grid.plane + taps_T  # depth-wise: I is 1
    return make_rows(weight_OIkk.flatten(2).numpy(), offsets_IT, bias_O.numpy())


def living(feed: GatedFeedForward) -> Tensor:
    """Hidden channels that say anything: whose gate, value and use have each a weight that is not 0."""
    speaks = _any(feed.project_in.weight) & _any(feed.depthwise.weight)
    gate, value = speaks.chunk(2)
    return torch.nonzero(gate & value & _any(feed.project_out.weight.transpose(0, 1))).flatten()


def _empty(shape: Sequence[int]) -> Tensor:
    """numpy asks for large pages, of which fewer have to be made ready."""
    return torch.from_numpy(np.empty(shape, np.float32))


def _any(weight: Tensor) -> Tensor:
    return (weight != 0).flatten(1).any(1)


def _norm(norm: ChannelNorm) -> Norm:
    return Norm(norm.weight.detach().numpy(), norm.bias.detach().numpy(), norm.epsilon)
