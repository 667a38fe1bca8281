"""PromptIR (Potlapalli et al., arXiv 2306.13090): the transformer U, guided on its way up by learned prompts.

The published code also declares six layers that its forward pass never reaches; here they do not exist.

Dims: B batch, C channels, H height, W width, K prompt components, P channels of a prompt, S side of a prompt.
"""

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from mirl.networks.global_statistics import GlobalStatistic, StretchedPlane, mean
from mirl.networks.layers import TransformerBlock
from mirl.networks.network import Channels, Side
from mirl.networks.restormer import TransformerOptions, TransformerU, arriving_channels


class PromptIROptions(TransformerOptions):
    """Size of PromptIR; the defaults are the paper's full size. Lists run from the finest level down."""

    prompt_components: Side = 5
    prompt_channels: list[Channels] = Field(default=[64, 128, 320], validate_default=True)
    """Channels of the prompt at each step up: one entry fewer than `blocks`."""
    prompt_sizes: list[Side] = Field(default=[64, 32, 16], validate_default=True)
    """Height and width of the stored prompts; they are resized to the features."""

    @field_validator("prompt_channels", "prompt_sizes")
    @classmethod
    def _one_for_each_step(cls, values: list[int], info: ValidationInfo) -> list[int]:
        steps = len(info.data.get("blocks", [0, *values])) - 1
        if len(values) != steps:
            raise ValueError(f"it needs one for each of the {steps} steps up, one fewer than `blocks`")
        return values

    @field_validator("prompt_channels")
    @classmethod
    def _heads_divide(cls, channels: list[int], info: ValidationInfo) -> list[int]:
        if {"width", "blocks", "heads"} <= info.data.keys():
            width, heads = info.data["width"], info.data["heads"][-2]
            for level, count in enumerate(channels, start=1):
                if (width * 2**level + count) % heads:
                    raise ValueError(f"{heads} heads do not divide {width * 2**level} + {count} channels")
        return channels


class PromptIR(TransformerU):
    """The transformer U in which every step up is guided by prompts.

    The coarsest step leaves with half the channels that arrive, the others with as many.
    """

    Options = PromptIROptions

    def __init__(self, options: PromptIROptions) -> None:
        arriving = arriving_channels(options)
        guided = [arriving[0] // 2, *arriving[1:]]
        sizes = zip(options.prompt_channels[::-1], options.prompt_sizes[::-1])
        guides = [
            PromptGuide(options, PromptBlock(c, options.prompt_components, p, s), c + p, out)
            for c, (p, s), out in zip(arriving, sizes, guided, strict=True)
        ]
        super().__init__(options, guides, guided)


class PromptBlock(nn.Module):
    """Prompt for given features: components mixed by what the features contain (section 3.1)."""

    def __init__(self, channels: int, components: int, prompt_channels: int, size: int) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.rand(components, prompt_channels, size, size))
        self.statistic, self.stretched = GlobalStatistic(), StretchedPlane()
        self.mixer = nn.Linear(channels, components)
        self.smooth = nn.Conv2d(prompt_channels, prompt_channels, 3, padding=1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the prompt for the features `x_BCHW`: (B, P, H, W)."""
        weight_BK = torch.softmax(self.mixer(self.statistic(mean, x_BCHW)), dim=1)
        prompt_BPSS = torch.einsum("bk,kpst->bpst", weight_BK, self.prompts)
        prompt_BPSS = prompt_BPSS.contiguous(memory_format=torch.channels_last)
        prompt_BPHW: Tensor = self.smooth(self.stretched(prompt_BPSS, x_BCHW))
        return prompt_BPHW


class PromptGuide(nn.Module):
    """Features and their prompt, mixed by a transformer block and brought to `out` channels (section 3.2).

    The last step is a 1x1 convolution, as in the published code and its count of parameters; the paper writes 3x3.
    """

    def __init__(self, options: PromptIROptions, prompt: PromptBlock, channels: int, out: int) -> None:
        super().__init__()
        # All levels use the heads of the level above the bottom, as the published network does.
        self.prompt = prompt
        self.block = TransformerBlock(channels, options.heads[-2], options.expansion)
        self.reduce = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        guided_BCHW: Tensor = self.reduce(self.block(torch.cat([x_BCHW, self.prompt(x_BCHW)], dim=1)))
        return guided_BCHW
