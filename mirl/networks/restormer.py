"""Restormer (Zamir et al., arXiv 2111.09881): a U of transformer blocks that attend between channels.

Dims: B batch, C channels, H height, W width.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from mirl.config import Section
from mirl.networks.layers import double, halve, transformer_blocks
from mirl.networks.network import LEVELS, Blocks, Channels, Network

Some = Annotated[Blocks, Field(ge=1)]


class TransformerOptions(Section):
    """Size of a transformer U; the defaults are the published ones. Lists run from the finest level down."""

    width: Channels = Field(default=48, multiple_of=2)
    """Channels of the finest level; each level down doubles them."""
    blocks: list[Some] = Field(default=[4, 6, 6, 8], min_length=2, max_length=LEVELS + 1)
    """Transformer blocks of each level; the last is the bottom of the U."""
    refinement: Blocks = 4
    """Blocks after the U, at full resolution."""
    heads: list[Channels] = Field(default=[1, 2, 4, 8], max_length=LEVELS + 1, validate_default=True)
    expansion: float = Field(default=2.66, ge=1, le=16)
    """Channels inside the feed-forward, as a multiple of those outside."""

    @field_validator("heads")
    @classmethod
    def _divide_the_channels(cls, heads: list[int], info: ValidationInfo) -> list[int]:
        blocks, width = info.data.get("blocks", heads), info.data.get("width", 0)
        if len(heads) != len(blocks):
            raise ValueError(f"`blocks` has {len(blocks)} levels; give both the same number")
        for level, count in enumerate(heads):
            if width * 2**level % count:
                raise ValueError(
                    f"{count} heads do not divide the {width * 2**level} channels of their level"
                )
        return heads


class TransformerU(Network):
    """Transformer-block encoder, bottom and decoder with concatenated skips; the output is the input plus a residual.

    `guides` holds one module for each step up, coarsest first; it sees the features before they are enlarged
    and makes `guided` channels of them. `multiple` is 2 ** steps.
    """

    def __init__(
        self, options: TransformerOptions, guides: Sequence[nn.Module], guided: Sequence[int]
    ) -> None:
        super().__init__()
        steps = len(options.blocks) - 1
        widths = [options.width * 2**level for level in range(steps)]
        levels = list(zip(options.blocks, widths, options.heads))  # all but the bottom
        expansion, bottom = options.expansion, 2 * widths[-1]
        # At the finest level the decoder keeps the concatenated channels, twice as many.
        inside = [2 * widths[0], *widths[1:]]
        self.multiple = 2**steps
        self.head = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(transformer_blocks(n, c, h, expansion) for n, c, h in levels)
        self.down = nn.ModuleList(halve(c) for c in widths)
        self.bottom = transformer_blocks(options.blocks[-1], bottom, options.heads[-1], expansion)
        self.guides = nn.ModuleList(guides)
        self.up = nn.ModuleList(double(c) for c in guided)
        self.join = nn.ModuleList(
            _join(c // 2 + skip, out) for c, skip, out in zip(guided, widths[::-1], inside[::-1], strict=True)
        )
        self.decoder = nn.ModuleList(
            transformer_blocks(n, c, h, expansion) for (n, _, h), c in zip(levels[::-1], inside[::-1])
        )
        self.refinement = transformer_blocks(options.refinement, inside[0], options.heads[0], expansion)
        self.tail = nn.Conv2d(inside[0], 3, 3, padding=1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the restored image in the shape of `x_BCHW`; nominal range [0, 1], not clamped."""
        y_BCHW = self.head(x_BCHW)
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            y_BCHW = blocks(y_BCHW)
            skips.append(y_BCHW)
            y_BCHW = down(y_BCHW)
        y_BCHW = self.bottom(y_BCHW)
        steps = zip(self.guides, self.up, self.join, self.decoder, reversed(skips), strict=True)
        for guide, up, join, blocks, skip_BCHW in steps:
            y_BCHW = blocks(join(torch.cat([up(guide(y_BCHW)), skip_BCHW], dim=1)))
        restored_BCHW: Tensor = x_BCHW + self.tail(self.refinement(y_BCHW))
        return restored_BCHW


class Restormer(TransformerU):
    """The transformer U without guides."""

    Options = TransformerOptions

    def __init__(self, options: TransformerOptions) -> None:
        arriving = arriving_channels(options)
        super().__init__(options, [nn.Identity() for _ in arriving], arriving)


def arriving_channels(options: TransformerOptions) -> list[int]:
    """Return the number of channels that arrive at each step up, coarsest first."""
    steps = len(options.blocks) - 1
    return [options.width * 2**level for level in range(steps, 0, -1)]


def _join(channels: int, wanted: int) -> nn.Module:
    """Return a 1x1 convolution from the concatenated channels to those wanted; the identity if they are the same."""
    return nn.Identity() if channels == wanted else nn.Conv2d(channels, wanted, 1, bias=False)
