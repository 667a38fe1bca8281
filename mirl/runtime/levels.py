"""The sub-network that works at each place of an image, and tiles that have one each.

Dims: B images, h height, w width.
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mirl.runtime.planes import Tiles
from mirl.runtime.thread_pool import all_tiles
from mirl.runtime.tiles import Grid


class Levels(Protocol):
    """Numbers of the sub-networks in a batch of images, from 0."""

    def at(self, height: int, width: int) -> Tensor:
        """Return the number at each place of features of that size: int64 B1hw."""
        ...

    def side(self, height: int) -> int:
        """Return the side of the squares that have one number, in features of that height; 0: all of it has one."""
        ...


class OneLevel(Levels):
    """Levels of a network that is one."""

    def at(self, height: int, width: int) -> Tensor:
        return torch.zeros(1, 1, 1, 1, dtype=torch.int64)

    def side(self, height: int) -> int:
        return 0


ONE_LEVEL = OneLevel()


def in_order(levels: Levels, grid: Grid, shape: tuple[int, int, int], count: int) -> list[list[Tiles]]:
    """Return, of each image, its tiles sorted by their sub-network, the highest first: it has the most to do.

    `shape` is that of the features (images, height, width), `count` the number of sub-networks. A tile in which several
    sub-networks meet goes through the highest.
    """
    if count == 1:
        return [all_tiles(grid)] * shape[0]
    level_Bt = _of_tiles(levels.at(*shape[1:]), grid).flatten(1).numpy()
    return [
        [
            Tiles(grid, np.flatnonzero(level_t == level), level)
            for level in range(count - 1, -1, -1)
            if (level_t == level).any()
        ]
        for level_t in level_Bt
    ]


def _of_tiles(level_B1hw: Tensor, grid: Grid) -> Tensor:
    """Return the highest number in the corners of each tile: one is no larger than the squares of one number."""
    tall, wide = level_B1hw.shape[2:]
    down = grid.tiles // grid.across
    top_t, left_t = torch.arange(down) * grid.rows, torch.arange(grid.across) * grid.columns
    bottom_t, right_t = (
        (top_t + grid.rows - 1).clamp(max=tall - 1),
        (left_t + grid.columns - 1).clamp(max=wide - 1),
    )
    corners = [
        level_B1hw[:, 0, row_t[:, None], column_t]
        for row_t in (top_t, bottom_t)
        for column_t in (left_t, right_t)
    ]
    return torch.stack(corners).amax(0)
