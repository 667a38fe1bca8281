"""A light classifier of patches: how well each of several sub-networks would restore one.

Dims: B patches, C channels, H height, W width, K sub-networks.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mirl.config import Section

ROUTER = "router."
"""Beginning of the names of a router's parameters in a network; they are never pruned."""
STRIDE = 4
"""Side of the pixel squares that the first layer reads, one by one."""
SLOPE = 0.1
EPSILON = 1e-8


class RouterSection(Section):
    """Size of a router."""

    outputs: int = Field(ge=2, le=16)
    """Sub-networks to choose from."""
    channels: int = Field(default=16, ge=1, le=256)
    """Channels of each hidden layer."""


class Router(nn.Module):
    """Scores sub-networks for patches of any size from 4x4 up.

    Three layers on squares of 4x4 pixels, as ClassSR's classifier (Kong et al., arXiv 2103.04039) but narrower. Ours: the
    features are pooled to their mean *and* their standard deviation, which tells noise from texture.
    """

    def __init__(self, section: RouterSection) -> None:
        super().__init__()
        wide = section.channels
        self.squares = nn.Conv2d(3, wide, STRIDE, STRIDE)
        self.hidden = nn.ModuleList(nn.Conv2d(wide, wide, 1) for _ in range(2))
        self.score = nn.Linear(2 * wide, section.outputs)

    def forward(self, patch_BCHW: Tensor) -> Tensor:
        """Return the scores of the sub-networks, (B, K): the larger, the better; in dB after a training with `RouterFit`."""
        y_BCHW = F.leaky_relu(self.squares(patch_BCHW), SLOPE)
        for layer in self.hidden:
            y_BCHW = F.leaky_relu(layer(y_BCHW), SLOPE)
        variance_BC, mean_BC = torch.var_mean(y_BCHW, dim=(2, 3), correction=0)
        pooled_BC = torch.cat([mean_BC, (variance_BC + EPSILON).sqrt()], dim=1)
        score_BK: Tensor = self.score(pooled_BC)
        return score_BK
