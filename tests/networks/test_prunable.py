import pytest
import torch
from torch import nn

from mirl.networks.promptir import PromptBlock
from mirl.networks.prunable import prunable


class Mixed(nn.Module):
    """Names that mislead: what counts is the type."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Linear(2, 2)
        self.norm = nn.Conv2d(2, 2, 1)
        self.again = nn.ConvTranspose2d(2, 2, 2)
        self.linear = nn.LayerNorm(2)
        self.conv = nn.BatchNorm2d(2)
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.temperature = nn.Parameter(torch.ones(2))
        self.guide = PromptBlock(2, 2, 2, 2)


@pytest.mark.parametrize("prompts, extra", [(False, []), (True, ["guide.prompts"])])
def test_prunable_goes_by_type_not_by_name(prompts: bool, extra: list[str]) -> None:
    guide = ["guide.mixer.weight", *extra, "guide.smooth.weight"]
    assert list(prunable(Mixed(), prompts)) == ["again.weight", "bias.weight", *guide, "norm.weight"]
