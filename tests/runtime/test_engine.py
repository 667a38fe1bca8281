"""Whole networks, made quick, against themselves."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mirl.networks import NETWORKS, NetworkSection, build, prunable
from mirl.runtime.engine import quicken
from tests.conftest import TINY


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("density", [1.0, 0.1])
def test_every_network_gives_the_same_result(name: str, density: float) -> None:
    network = build(NetworkSection(name=name, options=TINY[name], seed=1)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(2)
    for weight in prunable(network, prompts=True).values():
        weight.mul_(torch.rand(weight.shape, generator=generator) < density)
    quick = quicken(network, threads=2, crossover=1.0)
    for height, width in [(1, 1), (3, 2), (8, 40)]:
        x_BCHW = torch.rand(2, 3, height * network.multiple, width * network.multiple)
        torch.testing.assert_close(quick(x_BCHW), network(x_BCHW), atol=1e-5, rtol=0)


def test_the_network_keeps_its_layers_and_dense_layers_stay() -> None:
    network = build(NetworkSection(name="promptir", options=TINY["promptir"], seed=1)).eval()
    before = [type(module) for module in network.modules()]
    for weight in network.bottom.parameters():
        weight.data.zero_()
    quick = quicken(network, threads=1, crossover=0.5)
    assert [type(module) for module in network.modules()] == before
    kinds = {name: type(module).__name__ for name, module in quick.named_modules()}
    assert kinds["bottom.0"] == "SparseTransformerBlock" and kinds["encoder.0.0"] == "TransformerBlock"


def test_several_callers_at_a_time_get_what_one_gets() -> None:
    network = (
        build(NetworkSection(name="promptir", options=TINY["promptir"], seed=1)).eval().requires_grad_(False)
    )
    quick = quicken(network, threads=2, crossover=1.0)
    pictures = [torch.rand(1, 3, 64, 32 * count) for count in range(1, 5)] * 4
    alone = [quick(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(quick, pictures))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
