"""Convolution that skips zeros, and helpers that the layers of both kinds of network share.

Memory is planar: BCHW, each channel's rows one after the other. Dims: B batch, C channels, H height, W width; O output
and I input channels, T taps of a kernel.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mirl.networks.layers import ChannelNorm, Upsampling
from mirl.runtime import kernels
from mirl.runtime.images import IMAGES
from mirl.runtime.kernels import BATCH
from mirl.runtime.levels import ONE_LEVEL, Levels, in_order
from mirl.runtime.planes import Norm, Tiles
from mirl.runtime.rows import ALONE, DENSE, Rows, make_rows, paired
from mirl.runtime.thread_pool import ThreadPool
from mirl.runtime.tiles import Grid, cut
from mirl.runtime.vectors import SIDE

SIZES = 2
"""Number of picture sizes for which a layer keeps its rows: 8 bytes for each weight and size."""


class SparseConv(nn.Module):
    """Convolution with zero padding, or of squares of pixels; of several sub-networks, one at each place."""

    def __init__(self, convs: Sequence[nn.Conv2d], pool: ThreadPool, levels: Levels = ONE_LEVEL) -> None:
        """`convs`: the same convolution with the weights of each sub-network."""
        super().__init__()
        self._pool, self._levels = pool, levels
        (self._fold, _), (side, _) = convs[0].stride, convs[0].kernel_size
        self._border = 0 if self._fold > 1 else side // 2
        self._spread = convs[0].factor if isinstance(convs[0], Upsampling) else 1
        self._inputs, self._outputs = convs[0].in_channels * self._fold**2, convs[0].out_channels
        self._layers = lru_cache(SIZES)(
            lambda grid: [
                kernels.Convolution(rows_of(conv, grid), self._fold, self._spread) for conv in convs
            ]
        )

    def forward(self, x_BCHW: Tensor, skip_BCHW: Tensor | None = None) -> Tensor:
        """`skip_BCHW`: of an `Upsampling`, features that the result is added to, if any."""
        B, (H, W) = len(x_BCHW), (length // self._fold for length in x_BCHW.shape[2:])
        planes = self._inputs + max(BATCH, SIDE * self._spread)
        grid = cut(H, W, planes, self._border, self._levels.side(H))
        out_BCHW = IMAGES.empty((B, self._outputs // self._spread**2, H * self._spread, W * self._spread))
        skip_BCHW = out_BCHW[:, :0] if skip_BCHW is None else skip_BCHW
        layers = self._layers(grid)
        each = in_order(self._levels, grid, (B, H, W), len(layers))
        images = (image_BCHW.contiguous().numpy() for image_BCHW in (x_BCHW, out_BCHW, skip_BCHW))
        for x, out, skip, tiles in zip(*images, each, strict=True):

            def work(
                part: int, some: Tiles, memory: np.ndarray, x: Any = x, out: Any = out, skip: Any = skip
            ) -> None:
                kernels.convolve(x, some, layers[some.level], out, skip, memory)

            self._pool.run(work, tiles, planes)
        return out_BCHW


def rows_of(conv: nn.Conv2d, grid: Grid, inputs: Tensor | None = None, dense: float = DENSE) -> Rows:
    """Make the rows of a convolution over tiles of `grid`, for the given inputs (None: all)."""
    weight_OIkk = conv.weight if inputs is None else conv.weight[:, inputs]
    if conv.stride != (1, 1):  # squares of pixels, which are channels of the tile
        weight_OIkk = weight_OIkk.flatten(1)[..., None, None]
    return rows_from(weight_OIkk, conv.bias, grid, dense if conv.groups == 1 else ALONE)


def pairs_of(conv: nn.Conv2d, grid: Grid, some: Tensor) -> Rows:
    """Make the rows for `gate_rows`: of a `conv` of 2 J outputs, outputs j and J + j for each j of `some`."""
    weight_JIkk, bias_J = (
        torch.from_numpy(paired(each.detach().unflatten(0, (2, -1))[:, some].numpy()))
        for each in (conv.weight, torch.zeros(conv.out_channels) if conv.bias is None else conv.bias)
    )
    return rows_from(weight_JIkk, bias_J, grid, DENSE if conv.groups == 1 else ALONE)


def rows_from(weight_OIkk: Tensor, bias_O: Tensor | None, grid: Grid, dense: float = DENSE) -> Rows:
    """Make the rows of a convolution with these weights; in a depth-wise one, with I = 1, a row reads its own plane."""
    side = weight_OIkk.shape[-1]
    steps = np.arange(side) - side // 2
    taps_T = (steps[:, None] * grid.pitch + steps).reshape(-1)
    offsets_IT = np.arange(weight_OIkk.shape[1])[:, None] * grid.plane + taps_T
    bias = None if bias_O is None else bias_O.detach().numpy()
    return make_rows(weight_OIkk.detach().flatten(2).numpy(), offsets_IT, bias, dense)


def any_of(weight: Tensor) -> Tensor:
    """Return, for each row, whether it has a weight that is not 0."""
    return (weight != 0).flatten(1).any(1)


def norm_of(norm: ChannelNorm) -> Norm:
    """Return the parameters of a norm for the kernels."""
    return Norm(norm.weight.detach().numpy(), norm.bias.detach().numpy(), norm.epsilon)
