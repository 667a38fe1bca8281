"""Whole networks, accelerated, against themselves."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from mirl.networks import NETWORKS, NetworkSection, build, prunable
from mirl.runtime.engine import accelerate
from tests.conftest import TINY


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("density", [1.0, 0.1])
def test_every_network_gives_the_same_result(name: str, density: float) -> None:
    network = build(NetworkSection(name=name, options=TINY[name], seed=1)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(2)
    for weight in prunable(network, prompts=True).values():
        weight.mul_(torch.rand(weight.shape, generator=generator) < density)
    accelerated = accelerate(network, threads=2)
    for height, width in [(1, 1), (3, 2), (8, 40)]:
        x_BCHW = torch.rand(2, 3, height * network.multiple, width * network.multiple)
        torch.testing.assert_close(accelerated(x_BCHW), network(x_BCHW), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "block"), [("promptir", "bottom.0"), ("nafnet", "middle.0")])
def test_the_network_keeps_its_layers(name: str, block: str) -> None:
    network = build(NetworkSection(name=name, options=TINY[name], seed=1)).eval()
    before = [type(module) for module in network.modules()]
    accelerated = accelerate(network, threads=1)
    assert [type(module) for module in network.modules()] == before
    kinds = {path: type(module).__name__ for path, module in accelerated.named_modules()}
    assert kinds[block].startswith("Sparse") and kinds["head"] == "SparseConv"


def test_a_convolution_without_a_kernel_here_stays() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 5, padding=2), nn.Conv2d(4, 4, 3, stride=2), nn.Conv2d(4, 4, 2, stride=2)
    )
    kinds = [type(layer).__name__ for layer in accelerate(network, threads=1).children()]
    assert kinds == ["Conv2d", "Conv2d", "SparseConv"]


def test_several_callers_at_a_time_get_what_one_gets() -> None:
    network = (
        build(NetworkSection(name="promptir", options=TINY["promptir"], seed=1)).eval().requires_grad_(False)
    )
    accelerated = accelerate(network, threads=2)
    pictures = [torch.rand(1, 3, 64, 32 * count) for count in range(1, 5)] * 4
    alone = [accelerated(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(accelerated, pictures))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
