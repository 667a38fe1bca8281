"""Sub-network of each patch of an image, and the work that the patches take.

Dims: B batch, C channels, H height, W width; h and w those of a part; R rows and Q columns of patches, K sub-networks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from mirl.restore.pad import reflected
from mirl.restore.tile import Span, TilePosition, whole
from mirl.tickets.calibration import cheapest_good
from mirl.tickets.routing import ByDifficulty

Cut = Callable[[Span, Span], Tensor]
"""(rows, columns) -> that part of an image in [0, 1], float32 1 x 3 x h x w, filled by reflection beyond the image."""


@dataclass(frozen=True, eq=False)
class PatchLevels:
    """Numbers of the sub-networks of all patches, from 0 for the least work, on a grid that covers the image."""

    level_RQ: Tensor
    """Number of the sub-network of each patch, int64."""
    patch: int
    """Side of a patch, pixels."""

    @classmethod
    def routed(
        cls, router: nn.Module, cut: Cut, size: tuple[int, int], routing: ByDifficulty, price: float
    ) -> "PatchLevels":
        """Let `router` choose at a price of work, for an image of `size` (height, width) that `cut` gives parts of.

        If the routing's unit is the image, all patches have one number: that of the mean score over the image's pixels.
        """
        side = routing.patch
        scores_RQK = _scores(router, cut, grid(size, side), side)
        if routing.unit == "image":
            area_RQ = _areas(grid(size, side), side, size).numpy()
            scores_RQK[:] = np.tensordot(area_RQ, scores_RQK, 2) / area_RQ.sum()
        level_N = cheapest_good(scores_RQK.reshape(-1, scores_RQK.shape[2]), np.array(routing.works), price)
        return cls(torch.from_numpy(level_N).view(*scores_RQK.shape[:2]), side)

    def covers(self, size: tuple[int, int], patch: int) -> bool:
        """Return whether these are the levels of an image of `size` (height, width) in patches of that side."""
        return self.patch == patch and self.level_RQ.shape == grid(size, patch)

    def work(self, size: tuple[int, int], work_K: Sequence[float]) -> float:
        """Return the share of the largest sub-network's work that an image of `size` (height, width) takes, in (0, 1].

        `work_K` is the share of each sub-network. Patches count by the pixels that they have in the image.
        """
        area_RQ = _areas(self.level_RQ.shape, self.patch, size)
        each_RQ = torch.tensor(work_K, dtype=torch.float64)[self.level_RQ]
        return float((area_RQ * each_RQ).sum() / area_RQ.sum())

    def over(self, position: TilePosition, height: int, width: int) -> Tensor:
        """Return the numbers over a tile, in the resolution of features of that size: (height, width).

        A place goes by the patch in which its first pixel lies; what lies beyond the image by the last patch.
        """
        rows, columns = (
            ((span.start + torch.arange(length) * (span.stop - span.start) // length) // self.patch).clamp(
                max=count - 1
            )
            for span, length, count in zip(position, (height, width), self.level_RQ.shape)
        )
        return self.level_RQ[rows[:, None], columns]


def grid(size: tuple[int, int], patch: int) -> tuple[int, int]:
    """Return the rows and columns of patches of that side that cover an image of `size` (height, width)."""
    height, width = size
    return -(-height // patch), -(-width // patch)


class TileLevels:
    """Numbers of the sub-networks in a batch of tiles, in the resolution of any layer."""

    def __init__(self, levels: PatchLevels, positions: Sequence[TilePosition], device: str) -> None:
        """Take the positions of the tiles in the image of `levels`; all tiles are of one size."""
        self._levels, self._positions, self._device = levels, positions, device
        self._at: dict[tuple[int, int], Tensor] = {}

    @cached_property
    def present(self) -> list[int]:
        """Numbers of the sub-networks that restore a patch of the image, rising."""
        found: list[int] = torch.unique(self._levels.level_RQ).tolist()
        return found

    def at(self, height: int, width: int) -> Tensor:
        """Return the number at each place of features of that size: int64 B1hw."""
        if (height, width) not in self._at:
            each = [self._levels.over(position, height, width) for position in self._positions]
            self._at[height, width] = torch.stack(each)[:, None].to(self._device)
        return self._at[height, width]

    def side(self, height: int) -> int:
        """Return the side of a patch in features of that height, at least 1."""
        row, _ = self._positions[0]
        return max(1, self._levels.patch * height // (row.stop - row.start))


def _scores(router: nn.Module, cut: Cut, shape: tuple[int, int], side: int) -> np.ndarray:
    """Return the scores of all patches, float64 (R, Q, K); one row of patches is in memory at a time."""
    rows, columns = shape
    found = []
    for row in range(rows):
        band_1Chw = cut(whole(side, row * side), whole(columns * side))
        patch_QCpp = band_1Chw[0].unflatten(-1, (columns, side)).permute(2, 0, 1, 3)
        score_QK = router(patch_QCpp.contiguous(memory_format=torch.channels_last))
        found.append(score_QK.double().cpu().numpy())
    return np.stack(found)


def _areas(shape: Sequence[int], side: int, size: tuple[int, int]) -> Tensor:
    """Return the number of pixels that each patch has in an image of `size` (height, width), float64 (R, Q)."""
    high_R, wide_Q = (
        torch.full((count,), side).sub_(torch.clamp((torch.arange(count) + 1) * side - length, min=0))
        for count, length in zip(shape, size)
    )
    return (high_R[:, None] * wide_Q).double()


def part_of(image_BCHW: Tensor) -> Cut:
    """Return a function that cuts parts out of one image, a batch of 1."""

    def cut(rows: Span, columns: Span) -> Tensor:
        assert len(image_BCHW) == 1, f"patches are chosen for one image, got a batch of {len(image_BCHW)}"
        return _selected(_selected(image_BCHW, 2, rows), 3, columns)

    return cut


def _selected(image_BCHW: Tensor, dim: int, span: Span) -> Tensor:
    length = image_BCHW.shape[dim]
    if span.stop <= length:  # without a copy
        return image_BCHW.narrow(dim, span.start, span.stop - span.start)
    return image_BCHW.index_select(dim, reflected(length, span.start, span.stop).to(image_BCHW.device))
