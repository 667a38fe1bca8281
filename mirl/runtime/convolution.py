"""Convolution that skips zeros, and helpers that the layers of both kinds of network share.

Memory is planar: BCHW, each channel's rows one after the other. Dims: B batch, C channels, H height, W width; O output
and I input channels, T taps of a kernel.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from mirl.networks.layers import ChannelNorm
from mirl.runtime import kernels
from mirl.runtime.kernels import BATCH
from mirl.runtime.levels import ONE_LEVEL, Levels, in_order
from mirl.runtime.planes import Norm, Tiles
from mirl.runtime.rows import DENSE, Rows, make_rows
from mirl.runtime.thread_pool import ThreadPool
from mirl.runtime.tiles import Grid, cut

SIZES = 2
"""Number of picture sizes for which a layer keeps its rows: 8 bytes for each weight and size."""


class SparseConv(nn.Module):
    """Convolution of stride 1, 1x1 or 3x3, with zero padding; of several sub-networks, one at each place."""

    def __init__(self, convs: Sequence[nn.Conv2d], pool: ThreadPool, levels: Levels = ONE_LEVEL) -> None:
        """`convs`: the same convolution with the weights of each sub-network."""
        super().__init__()
        self._convs, self._pool, self._levels = convs, pool, levels
        self._border = convs[0].kernel_size[0] // 2
        self._rows = lru_cache(SIZES)(lambda grid: [rows_of(conv, grid) for conv in convs])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        B, C, H, W = x_BCHW.shape
        grid = cut(H, W, C + BATCH, self._border, self._levels.side(H))
        out_BCHW = empty((B, self._convs[0].out_channels, H, W))
        rows = self._rows(grid)
        each = in_order(self._levels, grid, (B, H, W), len(rows))
        for x, out, tiles in zip(x_BCHW.contiguous().numpy(), out_BCHW.numpy(), each, strict=True):
            self._run(x, out, tiles, rows)
        return out_BCHW

    def _run(
        self, x_CHW: np.ndarray, out_OHW: np.ndarray, tiles: Sequence[Tiles], rows: Sequence[Rows]
    ) -> None:
        def work(part: int, some: Tiles, memory: np.ndarray) -> None:
            kernels.convolve(x_CHW, some, rows[some.level], out_OHW, memory)

        self._pool.run(work, tiles, len(x_CHW) + BATCH)


def rows_of(
    conv: nn.Conv2d,
    grid: Grid,
    outputs: Tensor | None = None,
    inputs: Tensor | None = None,
    dense: float = DENSE,
) -> Rows:
    """Make the rows of a convolution over tiles of `grid`, for the given outputs and inputs (None: all)."""
    weight_OIkk, bias_O = conv.weight, conv.bias
    if outputs is not None:
        weight_OIkk, bias_O = weight_OIkk[outputs], None if bias_O is None else bias_O[outputs]
    dense = dense if conv.groups == 1 else 1.0
    return rows_from(weight_OIkk if inputs is None else weight_OIkk[:, inputs], bias_O, grid, dense)


def rows_from(weight_OIkk: Tensor, bias_O: Tensor | None, grid: Grid, dense: float = DENSE) -> Rows:
    """Make the rows of a convolution with these weights; in a depth-wise one, with I = 1, a row reads its own plane."""
    side = weight_OIkk.shape[-1]
    steps = np.arange(side) - side // 2
    taps_T = (steps[:, None] * grid.pitch + steps).reshape(-1)
    offsets_IT = np.arange(weight_OIkk.shape[1])[:, None] * grid.plane + taps_T
    bias = None if bias_O is None else bias_O.detach().numpy()
    return make_rows(weight_OIkk.detach().flatten(2).numpy(), offsets_IT, bias, dense)


def pairs_of(some: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return outputs j and J + j of a `conv` of 2 J outputs next to each other, for each j of `some`."""
    return torch.stack([some, some + conv.out_channels // 2], 1).flatten()


def empty(shape: Sequence[int]) -> Tensor:
    """Allocate an image to be written, float32; numpy asks for huge pages, which cause fewer page faults."""
    return torch.from_numpy(np.empty(shape, np.float32))


def any_of(weight: Tensor) -> Tensor:
    """Return, for each row, whether it has a weight that is not 0."""
    return (weight != 0).flatten(1).any(1)


def norm_of(norm: ChannelNorm) -> Norm:
    """Return the parameters of a norm for the kernels."""
    return Norm(norm.weight.detach().numpy(), norm.bias.detach().numpy(), norm.epsilon)
