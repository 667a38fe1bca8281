"""Layers that are pruned, and tiles of two sizes."""

import pytest
import torch
from torch import nn

from mirl.runtime import tiles

SIZES = [(1, 1), (3, 5), (16, 16), (17, 129), (70, 66)]


def prune(module: nn.Module, density: float) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(torch.rand(layer.weight.shape, generator=generator) < density)


@pytest.fixture(params=["tiles as usual", "tiny tiles"])
def tile_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "tiny tiles":
        monkeypatch.setattr(tiles, "CACHE", 1)
        monkeypatch.setattr(tiles, "COLUMNS", 7)
