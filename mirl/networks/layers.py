"""Layers that more than one network uses, written for channels-last memory.

The transformer block is Restormer's (Zamir et al., arXiv 2111.09881, section 3), which PromptIR shares.

Dims: B batch, C channels, D channels of a head, H height, W width, N pixels (H * W), h heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mirl.networks.global_statistics import GlobalStatistic


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel, with gain and bias; BCHW in, BCHW out."""

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon

    def forward(self, x_BCHW: Tensor) -> Tensor:
        # In channels-last memory the permuted view is contiguous: one fused kernel, no copy.
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        y_BHWC = F.layer_norm(x_BHWC, self.weight.shape, self.weight, self.bias, self.epsilon)
        return y_BHWC.permute(0, 3, 1, 2)


class Upsampling(nn.Conv2d):
    """Convolution whose channels are spread over squares of pixels (sub-pixel convolution, arXiv 1609.05158)."""

    def __init__(self, inputs: int, outputs: int, factor: int, side: int, bias: bool) -> None:
        super().__init__(inputs, outputs * factor**2, side, padding=side // 2, bias=bias)
        self.factor = factor

    def forward(self, x_BCHW: Tensor, skip_BCHW: Tensor | None = None) -> Tensor:
        """Return features with `factor` times as many rows and columns, plus `skip_BCHW` of their shape if it is given."""
        spread_BChw = F.pixel_shuffle(super().forward(x_BCHW), self.factor)
        return spread_BChw if skip_BCHW is None else skip_BCHW + spread_BChw


class ChannelAttention(nn.Module):
    """MDTA (eq. 1): a head attends between its channels by cosine over all pixels, times a temperature."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        assert channels % heads == 0, f"{channels} channels do not divide into {heads} heads"
        wide = 3 * channels
        self.heads = heads
        self.statistic = GlobalStatistic()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project_in = nn.Conv2d(channels, wide, 1, bias=False)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        B, C, H, W = x_BCHW.shape
        qkv_BCHW = self.depthwise(self.project_in(x_BCHW))
        cosine_BhDD = cosine(self.statistic(self.products, qkv_BCHW))
        weight_BhDD = torch.softmax(cosine_BhDD * self.temperature, dim=-1)
        y_BhND = self._heads(qkv_BCHW)[2].mT @ weight_BhDD.mT
        y_BHWC = y_BhND.transpose(1, 2).reshape(B, H, W, C)
        y_BCHW: Tensor = self.project_out(y_BHWC.permute(0, 3, 1, 2))
        return y_BCHW

    def products(self, qkv_BCHW: Tensor) -> Tensor:
        """Compute means over all pixels for `cosine`: each query times each key, and their squares (B, h, D, D + 2)."""
        q_BhDN, k_BhDN, _ = self._heads(qkv_BCHW)
        squares_BhD1 = [torch.linalg.vector_norm(x, dim=-1, keepdim=True) ** 2 for x in (q_BhDN, k_BhDN)]
        means_BhDE: Tensor = torch.cat([q_BhDN @ k_BhDN.mT, *squares_BhD1], dim=-1) / q_BhDN.shape[-1]
        return means_BhDE

    def _heads(self, qkv_BCHW: Tensor) -> Tensor:
        """Split into queries, keys and values: (3, B, h, D, N)."""
        B, C, H, W = qkv_BCHW.shape
        split = B, H * W, 3, self.heads, C // 3 // self.heads
        return qkv_BCHW.permute(0, 2, 3, 1).reshape(split).permute(2, 0, 3, 4, 1)


class GatedFeedForward(nn.Module):
    """GDFN (eq. 2): widens by 1x1 and depth-wise 3x3; one half, through GELU, gates the other."""

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        wide = 2 * hidden
        self.project_in = nn.Conv2d(channels, wide, 1, bias=False)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        gate_BCHW, value_BCHW = self.depthwise(self.project_in(x_BCHW)).chunk(2, dim=1)
        y_BCHW: Tensor = self.project_out(F.gelu(gate_BCHW) * value_BCHW)
        return y_BCHW


class TransformerBlock(nn.Module):
    """Two residual branches, each after its own norm: channel attention, then the gated feed-forward."""

    EPSILON = 1e-5

    def __init__(self, channels: int, heads: int, expansion: float) -> None:
        super().__init__()
        self.attention_norm = ChannelNorm(channels, self.EPSILON)
        self.attention = ChannelAttention(channels, heads)
        self.feed_norm = ChannelNorm(channels, self.EPSILON)
        self.feed = GatedFeedForward(channels, expansion)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = x_BCHW + self.attention(self.attention_norm(x_BCHW))
        y_BCHW: Tensor = x_BCHW + self.feed(self.feed_norm(x_BCHW))
        return y_BCHW


def transformer_blocks(count: int, channels: int, heads: int, expansion: float) -> nn.Sequential:
    """Return `count` blocks in a row; without any, the identity."""
    return nn.Sequential(*(TransformerBlock(channels, heads, expansion) for _ in range(count)))


def halve(channels: int) -> nn.Sequential:
    """Return layers that halve the sides and double the channels: a 3x3 convolution, then 2x2 pixels into channels."""
    return nn.Sequential(nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))


def double(channels: int) -> nn.Sequential:
    """Return layers that double the sides and halve the channels: a 3x3 convolution, then channels into 2x2 pixels."""
    return nn.Sequential(nn.Conv2d(channels, channels * 2, 3, padding=1, bias=False), nn.PixelShuffle(2))


def cosine(products_BhDE: Tensor) -> Tensor:
    """Compute the cosine of each query with each key from their `products` (E = D + 2): (B, h, D, D); 0 if either is 0.

    The norms divide the small D x D product instead of two large D x N factors. Pruning leaves channels that are zero
    everywhere. Their cosine is 0 either way, but the usual floor under the norm (1e-12) would send gradients of 1e12
    back into them, and so into the clipping of all others.
    """
    dots_BhDD, squares_BhD2 = products_BhDE[..., :-2], products_BhDE[..., -2:]
    q_BhD, k_BhD = torch.where(squares_BhD2 > 0, squares_BhD2, torch.inf).rsqrt().unbind(-1)
    return dots_BhDD * q_BhD[..., None] * k_BhD[..., None, :]
