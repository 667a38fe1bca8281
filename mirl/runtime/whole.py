"""Means over the whole image: of all pixels, or of those that count where pieces of an image are looked at.

Dims: B batch, H height, W width, N pixels.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mirl.networks.whole import WholeImage
from mirl.runtime.planes import Part

NOTHING = Part(0, 0, 0, 0)
Sums = Callable[[Sequence[Part]], Sequence[Tensor]]
"""Does the pass over each image of a batch, and adds up what is to be known over a part of each."""


def mean_over(whole: WholeImage, shape: torch.Size, sums: Sums) -> Tensor:
    """What `whole` answers for features of a shape: the means of `sums`, or what is known of a larger image.

    The pass is done once in either case. `whole` is shown places instead of features, so that it says which of them count.
    """
    B, _, H, W = shape
    done = False

    def summary(place_B1HW: Tensor) -> Tensor:
        nonlocal done
        together = [_parts(one_1HW, W, H * W) for one_1HW in place_B1HW]
        counted = {item: part for parts in together for item, part in parts.items()}
        found = sums([counted.get(item, NOTHING) for item in range(B)])
        done = True
        added = [torch.stack([found[item] for item in parts]).sum(0) for parts in together]
        return torch.stack(added) / place_B1HW[0].numel()

    answer: Tensor = whole(summary, torch.arange(B * H * W).view(B, 1, H, W))
    if not done:
        sums([NOTHING] * B)
    return answer


def _parts(place: Tensor, width: int, area: int) -> dict[int, Part]:
    """Of each image that is seen the rectangle of the places; they come in order."""
    place_N = place.flatten()
    if len(place_N) == area and int(place_N[-1] - place_N[0]) == area - 1:  # most often: all of one
        return {int(place_N[0]) // area: Part(0, area // width, 0, width)}
    parts = {}
    for item in torch.unique_consecutive(place_N // area).tolist():
        own = place_N[place_N // area == item] % area
        first, last = int(own[0]), int(own[-1])
        parts[item] = Part(first // width, last // width + 1, first % width, last % width + 1)
    return parts
