"""EDSR (Lim et al., arXiv 1707.02921): super-resolution by residual blocks without norms and sub-pixel convolution.

The defaults are the paper's baseline. As in its MDSR, one body can serve several scales, with an up-sampler for each.
Ours: no mean is subtracted; the network learns the difference from a bicubic enlargement, so that a network of which
nothing is left enlarges as doing nothing does; and each scale has a last layer of its own.

Dims: B batch, C channels, H height, W width of the small image; h and w those of the enlarged one.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mirl.networks.heads import ScalesNetwork, ScalesOptions
from mirl.networks.layers import Upsampling
from mirl.networks.network import Blocks, Channels


class EdsrOptions(ScalesOptions):
    """Size and scales of EDSR; the defaults are the paper's baseline for x4."""

    width: Channels = 64
    """Channels of all features."""
    blocks: Blocks = 16
    """Residual blocks of the body."""


class Edsr(ScalesNetwork):
    """Enlarges by `scale`: the bicubic enlargement plus a learned residual.

    All layers but the last of a head work on the small image, or in a head of x4 on one of twice its sides.
    """

    Options = EdsrOptions
    widths = ("width",)

    def __init__(self, options: EdsrOptions) -> None:
        super().__init__(options)
        self.multiple = 1
        self.stem = _convolution(3, options.width)
        self.body = nn.Sequential(
            *(ResidualBlock(options.width) for _ in range(options.blocks)),
            _convolution(options.width, options.width),
        )
        self.add_heads(options.scales, lambda scale: Upsampler(options.width, scale))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the enlarged image, B C h w; nominal range [0, 1], not clamped."""
        y_BCHW = self.stem(x_BCHW)
        residual_BChw: Tensor = self.head(y_BCHW + self.body(y_BCHW))
        # With `antialias` torch's kernel is Keys' with a = -0.5, as MATLAB's, else a = -0.75.
        bicubic_BChw = F.interpolate(x_BCHW, scale_factor=self.scale, mode="bicubic", antialias=True)
        return bicubic_BChw + residual_BChw


class ResidualBlock(nn.Module):
    """Two convolutions with a ReLU between them, added to the input (figure 2c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW: Tensor = x_BCHW + self.second(F.relu(self.first(x_BCHW)))
        return y_BCHW


class Upsampler(nn.Module):
    """Head: sub-pixel convolutions, for x4 two of x2, and a convolution that makes colours."""

    def __init__(self, channels: int, scale: int) -> None:
        super().__init__()
        factors = {4: (2, 2)}.get(scale, (scale,))
        self.steps = nn.Sequential(
            *(Upsampling(channels, channels, factor, 3, bias=True) for factor in factors)
        )
        self.tail = _convolution(channels, 3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the residual of the enlarged image, B C h w."""
        residual_BChw: Tensor = self.tail(self.steps(x_BCHW))
        return residual_BChw


def _convolution(channels: int, wanted: int) -> nn.Conv2d:
    return nn.Conv2d(channels, wanted, 3, padding=1)
