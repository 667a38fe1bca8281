"""A small fast network for laptops: NAFNet's blocks (Chen et al., arXiv 2204.04676) in a U.

Ours, not the paper's: the U works on `pixel_unshuffle`d images, and the branch scales start at 0.1. At the
paper's start of 0 a branch has no gradient in the first step, and a rewound ticket begins without branches.

Dims: B batch, C channels, H height, W width.
"""

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from mirl.config import Section
from mirl.networks.global_statistics import GlobalStatistic, mean
from mirl.networks.layers import ChannelNorm, Upsampling
from mirl.networks.network import LEVELS, Blocks, Channels, Network

BRANCH_SCALE = 0.1
NORM_EPSILON = 1e-6


class NafnetOptions(Section):
    """Size of the small network."""

    width: Channels = 32
    """Channels of the finest level; each level down doubles them."""
    encoder: list[Blocks] = Field(default=[1, 1], max_length=LEVELS)
    """Blocks of each level on the way down, finest first."""
    middle: Blocks = Field(default=2, ge=1)
    decoder: list[Blocks] = Field(default=[1, 1], max_length=LEVELS, validate_default=True)
    """Blocks of each level on the way up, coarsest first; as many levels as `encoder`."""
    shuffle: int = Field(default=2, ge=1, le=8)
    """Side of the pixel square that is folded into channels at the input; 1 works on full resolution."""

    @field_validator("decoder")
    @classmethod
    def _as_many_levels(cls, decoder: list[int], info: ValidationInfo) -> list[int]:
        encoder = info.data.get("encoder", decoder)
        if len(decoder) != len(encoder):
            raise ValueError(f"`encoder` has {len(encoder)} levels; give both the same number")
        return decoder


class Nafnet(Network):
    """U-shaped network of gated blocks; the output is the input plus a learned residual.

    Levels are joined by addition. `multiple` is shuffle * 2 ** levels.
    """

    Options = NafnetOptions
    widths = ("width",)
    gated = ("mix_in", "mix_depthwise", "feed_in")

    def __init__(self, options: NafnetOptions) -> None:
        super().__init__()
        self.shuffle = options.shuffle
        self.multiple = options.shuffle * 2 ** len(options.encoder)
        width = options.width
        pixels = 3 * options.shuffle**2
        widths = [width * 2**level for level in range(len(options.encoder))]
        self.head = nn.Conv2d(pixels, width, 3, padding=1)
        self.encoder = nn.ModuleList(_blocks(n, c) for n, c in zip(options.encoder, widths, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(c, 2 * c, 2, stride=2) for c in widths)
        self.middle = _blocks(options.middle, width * 2 ** len(widths))
        self.up = nn.ModuleList(Upsampling(2 * c, c, 2, 1, bias=False) for c in reversed(widths))
        self.decoder = nn.ModuleList(
            _blocks(n, c) for n, c in zip(options.decoder, reversed(widths), strict=True)
        )
        self.tail = Upsampling(width, 3, options.shuffle, 3, bias=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the restored image in the shape of `x_BCHW`; nominal range [0, 1], not clamped."""
        y_BCHW = self.head(F.pixel_unshuffle(x_BCHW, self.shuffle))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            y_BCHW = blocks(y_BCHW)
            skips.append(y_BCHW)
            y_BCHW = down(y_BCHW)
        y_BCHW = self.middle(y_BCHW)
        for up, blocks, skip_BCHW in zip(self.up, self.decoder, reversed(skips), strict=True):
            y_BCHW = blocks(up(y_BCHW, skip_BCHW))
        restored_BCHW: Tensor = self.tail(y_BCHW, x_BCHW)
        return restored_BCHW


class NafBlock(nn.Module):
    """Two residual branches: a gated depth-wise mixing of neighbours, then a gated mixing of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.mix_norm = ChannelNorm(channels, NORM_EPSILON)
        self.mix_in = nn.Conv2d(channels, wide, 1)
        self.mix_depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.mix_statistic = GlobalStatistic()
        self.mix_attention = nn.Conv2d(channels, channels, 1)
        self.mix_out = nn.Conv2d(channels, channels, 1)
        self.mix_scale = nn.Parameter(torch.full((1, channels, 1, 1), BRANCH_SCALE))
        self.feed_norm = ChannelNorm(channels, NORM_EPSILON)
        self.feed_in = nn.Conv2d(channels, wide, 1)
        self.feed_out = nn.Conv2d(channels, channels, 1)
        self.feed_scale = nn.Parameter(torch.full((1, channels, 1, 1), BRANCH_SCALE))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.mix_channels(x_BCHW, self.gate_neighbours(x_BCHW))

    def gate_neighbours(self, x_BCHW: Tensor) -> Tensor:
        """Return the gated mixing of neighbours: (B, C, H, W). It alone sees other places than its own."""
        return _gate(self.mix_depthwise(self.mix_in(self.mix_norm(x_BCHW))))

    def mix_channels(self, x_BCHW: Tensor, y_BCHW: Tensor, mean_BC: Tensor | None = None) -> Tensor:
        """Return the output of the block for its input, what is gated of it, and the means of that over the image.

        Without `mean_BC` the means are taken here. A caller that keeps no `y_BCHW` takes less memory.
        """
        if mean_BC is None:
            mean_BC = self.mix_statistic(mean, y_BCHW)
        y_BCHW = y_BCHW * self.mix_attention(mean_BC[..., None, None])
        x_BCHW = x_BCHW + self.mix_out(y_BCHW) * self.mix_scale
        y_BCHW = _gate(self.feed_in(self.feed_norm(x_BCHW)))
        out_BCHW: Tensor = x_BCHW + self.feed_out(y_BCHW) * self.feed_scale
        return out_BCHW


def _blocks(count: int, channels: int) -> nn.Sequential:
    return nn.Sequential(*(NafBlock(channels) for _ in range(count)))


def _gate(x_BCHW: Tensor) -> Tensor:
    """Apply SimpleGate: the product of the two halves of the channels."""
    left_BCHW, right_BCHW = x_BCHW.chunk(2, dim=1)
    return left_BCHW * right_BCHW
