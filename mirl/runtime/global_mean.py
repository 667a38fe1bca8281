"""Means over the whole image: over all pixels, or, for pieces of an image, over the pixels that count.

Dims: B batch, H height, W width, N pixels.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mirl.networks.global_statistics import GlobalStatistic
from mirl.runtime.planes import Part

NOTHING = Part(0, 0, 0, 0)
Sums = Callable[[Sequence[Part]], Sequence[Tensor]]
"""Function that runs a pass over each image of a batch, and returns the sums over the given part of each."""


def mean_over(statistic: GlobalStatistic, shape: torch.Size, sums: Sums) -> Tensor:
    """Compute `statistic` for features of a shape: the means of `sums`, or the known means of a larger image.

    The pass runs once in either case. `statistic` gets positions instead of features, and selects those that count.
    """
    B, _, H, W = shape
    done = False

    def summary(position_B1HW: Tensor) -> Tensor:
        nonlocal done
        together = [_parts(one_1HW, W, H * W) for one_1HW in position_B1HW]
        counted = {item: part for parts in together for item, part in parts.items()}
        found = sums([counted.get(item, NOTHING) for item in range(B)])
        done = True
        added = [torch.stack([found[item] for item in parts]).sum(0) for parts in together]
        return torch.stack(added) / position_B1HW[0].numel()

    answer: Tensor = statistic(summary, torch.arange(B * H * W).view(B, 1, H, W))
    if not done:
        sums([NOTHING] * B)
    return answer


def _parts(position: Tensor, width: int, area: int) -> dict[int, Part]:
    """Return, for each image that occurs, the rectangle of its positions, which are in ascending order."""
    position_N = position.flatten()
    if len(position_N) == area and int(position_N[-1] - position_N[0]) == area - 1:  # most often: all of one
        return {int(position_N[0]) // area: Part(0, area // width, 0, width)}
    parts = {}
    for item in torch.unique_consecutive(position_N // area).tolist():
        own = position_N[position_N // area == item] % area
        first, last = int(own[0]), int(own[-1])
        parts[item] = Part(first // width, last // width + 1, first % width, last % width + 1)
    return parts
