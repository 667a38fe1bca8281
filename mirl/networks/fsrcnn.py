"""FSRCNN (Dong et al., arXiv 1608.00367): a small network for super-resolution that works at the low resolution.

Ours, not the paper's: the network learns the difference from a bicubic enlargement, so that a network of which nothing is
left enlarges as doing nothing does; and the kernels of its last layer are centred over their pixels.

Dims: B batch, C channels, H height, W width of the small image; h and w those of the enlarged one.
"""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mirl.config import Section
from mirl.networks.network import Blocks, Channels, Network

LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
"""Weights of red, green and blue in the Y of MATLAB's YCbCr (BT.601), without its offset."""
TAIL_SIDE = 9
"""Side of the kernels of the last layer, pixels of the enlarged image."""
TAIL_DEVIATION = 0.001
"""Standard deviation of the first weights of the last layer, as in the paper (section 3.3)."""


class FsrcnnOptions(Section):
    """Size of FSRCNN; the defaults are the paper's FSRCNN (56, 12, 4)."""

    scale: int = Field(default=4, ge=2, le=4)
    """Side of the enlarged image divided by the side of the small one."""
    width: Channels = 56
    """Channels of the features (d in the paper)."""
    narrow: Channels = 12
    """Channels between the features, where most layers are (s)."""
    layers: Blocks = 4
    """Layers between the features (m)."""


class Fsrcnn(Network):
    """Enlarges by `scale`: the bicubic enlargement plus a learned residual of Y, the same for red, green and blue.

    So Y goes through the network, and the chroma is enlarged by bicubic.
    """

    Options = FsrcnnOptions
    widths = ("width", "narrow")

    def __init__(self, options: FsrcnnOptions) -> None:
        super().__init__()
        self.multiple, self.scale = 1, options.scale
        wide, narrow = options.width, options.narrow
        self.head = _layer(1, wide, 5)
        self.shrink = _layer(wide, narrow, 1)
        self.body = nn.Sequential(*(_layer(narrow, narrow, 3) for _ in range(options.layers)))
        self.expand = _layer(narrow, wide, 1)
        shift = (options.scale - 1) // 2
        self.tail = nn.ConvTranspose2d(
            wide, 1, TAIL_SIDE, options.scale,
            padding=TAIL_SIDE // 2 - shift, output_padding=options.scale - 1 - 2 * shift,
        )  # fmt: skip
        nn.init.normal_(self.tail.weight, std=TAIL_DEVIATION)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the enlarged image, B C h w; nominal range [0, 1], not clamped."""
        red_B1HW, green_B1HW, blue_B1HW = x_BCHW.split(1, dim=1)
        y_B1HW = LUMA[0] * red_B1HW + LUMA[1] * green_B1HW + LUMA[2] * blue_B1HW
        residual_B1hw: Tensor = self.tail(self.expand(self.body(self.shrink(self.head(y_B1HW)))))
        # With `antialias` torch's kernel is Keys' with a = -0.5, as MATLAB's, else a = -0.75.
        bicubic_BChw = F.interpolate(x_BCHW, scale_factor=self.scale, mode="bicubic", antialias=True)
        return bicubic_BChw + residual_B1hw


def _layer(channels: int, wanted: int, side: int) -> nn.Sequential:
    """Return a convolution and its activation, with first weights for it (He et al., arXiv 1502.01852, section 2.2)."""
    convolution, activation = nn.Conv2d(channels, wanted, side, padding=side // 2), nn.PReLU(wanted)
    nn.init.kaiming_normal_(convolution.weight, a=0.25)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution, activation)
