"""Where a network looks at the whole of its image: modules of their own, so that who runs it in tiles can step in.

Dims: B batch, C channels, H height, W width, P channels of a prompt, S its side.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

Summary = Callable[[Tensor], Tensor]
"""What a network wants to know of all pixels: features BCHW in, one value of any shape for each of the batch out."""


class WholeImage(nn.Module):
    """A summary of all pixels of the image. A forward hook may answer for tiles, which see a part of them."""

    def forward(self, summary: Summary, x_BCHW: Tensor) -> Tensor:
        return summary(x_BCHW)


class Spread(nn.Module):
    """Planes stretched over the image, bilinear. A forward hook may cut out the part that a tile sees."""

    def forward(self, plane_BPSS: Tensor, x_BCHW: Tensor) -> Tensor:
        """`plane_BPSS` in the height and width of `x_BCHW`."""
        return F.interpolate(plane_BPSS, x_BCHW.shape[-2:], mode="bilinear", align_corners=False)


def mean(x_BCHW: Tensor) -> Tensor:
    """Of every channel: (B, C)."""
    return x_BCHW.mean((2, 3))
