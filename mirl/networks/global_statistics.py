"""Statistics of a network's whole image, as modules of their own, so that running in tiles can replace the statistics.

Dims: B batch, C channels, H height, W width, P channels of a prompt, S its side.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

Summary = Callable[[Tensor], Tensor]
"""A statistic of all pixels: features BCHW in, one value of any shape for each of the batch out."""


class GlobalStatistic(nn.Module):
    """Summary of all pixels of the image; a forward hook may supply it for tiles, which hold a part of the pixels."""

    def forward(self, summary: Summary, x_BCHW: Tensor) -> Tensor:
        return summary(x_BCHW)


class StretchedPlane(nn.Module):
    """Planes stretched over the image, bilinear. A forward hook may cut out the part that a tile covers."""

    def forward(self, plane_BPSS: Tensor, x_BCHW: Tensor) -> Tensor:
        """Stretch `plane_BPSS` to the height and width of `x_BCHW`."""
        return F.interpolate(plane_BPSS, x_BCHW.shape[-2:], mode="bilinear", align_corners=False)


def mean(x_BCHW: Tensor) -> Tensor:
    """Compute the mean of every channel: (B, C)."""
    return x_BCHW.mean((2, 3))
