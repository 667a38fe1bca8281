import numpy as np
import pytest
import torch

from mirl.data.bicubic import enlarged
from mirl.evaluation.metrics import luma
from mirl.networks import NetworkSection, build, outline, prunable
from mirl.networks.fsrcnn import LUMA
from mirl.sparsity.accounting import macs
from mirl.sparsity.mask import Mask

SCALES = [2, 3, 4]


def section(scale: int) -> NetworkSection:
    return NetworkSection(name="fsrcnn", options={"scale": scale}, seed=1)


@pytest.mark.parametrize("scale", SCALES)
def test_the_weights_are_as_many_as_in_the_paper(scale: int) -> None:
    """12,464 (table 1); biases and slopes, 345, are not counted there."""
    network = outline(section(scale))
    weights = prunable(network, prompts=False)
    assert sum(weight.numel() for weight in weights.values()) == 12_464
    assert len(weights) == 8 and "tail.weight" in weights
    assert sum(parameter.numel() for parameter in network.parameters()) == 12_464 + 345


@pytest.mark.parametrize("scale", SCALES)
def test_every_weight_is_multiplied_once_a_pixel_of_the_small_image(scale: int) -> None:
    """So the transposed convolution is counted at the low resolution, whatever the scale."""
    network = outline(section(scale))
    weights = prunable(network, prompts=False)
    half = Mask(
        {name: torch.arange(weight.numel()).view(weight.shape) % 2 == 0 for name, weight in weights.items()}
    )
    found = macs(network, half, 20, 30)
    assert found.dense_g == 12_464 * 600 / 1e9 and found.kept_g == pytest.approx(found.dense_g / 2)


@pytest.mark.parametrize("scale", SCALES)
def test_y_goes_through_the_network_and_the_chroma_by_bicubic(scale: int) -> None:
    network, image = (
        build(section(scale)),
        torch.rand(1, 3, 12, 14, generator=torch.Generator().manual_seed(0)),
    )
    with torch.no_grad():
        network.get_parameter("tail.weight").mul_(100)
        out = network(image)[0].permute(1, 2, 0).numpy()
        same_y = image + torch.tensor([LUMA[1], -LUMA[0], 0.0]).view(1, 3, 1, 1) * 0.3
        other = network(same_y)[0].permute(1, 2, 0).numpy()
    inside = slice(2 * scale, -2 * scale)
    change = (out - enlarged(image[0].permute(1, 2, 0).numpy(), scale))[inside, inside]
    assert np.ptp(change, axis=2).max() < 1e-5 < 0.01 < np.abs(change).max()
    again = (other - enlarged(same_y[0].permute(1, 2, 0).numpy(), scale))[inside, inside]
    assert np.abs(again - change).max() < 1e-5  # Y alone decides


def test_its_y_is_that_of_the_evaluation() -> None:
    colour = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(colour @ torch.tensor(LUMA) + 16 / 255, luma(colour), atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_the_kernels_of_the_last_layer_are_centred(scale: int) -> None:
    """One pixel of the small image spreads as far to the one side as to the other, but for one pixel at even scales."""
    tail = build(section(scale)).get_submodule("tail")
    point = torch.zeros(1, 56, 9, 9)
    point[:, :, 4, 4] = 1
    with torch.no_grad():
        reached = tail(point)[0, 0].abs().sum(0).nonzero().flatten()
    before = 4 * scale + (scale - 1) / 2 - int(reached[0])
    after = int(reached[-1]) - 4 * scale - (scale - 1) / 2
    assert before + after == 8 and abs(before - after) == (0 if scale % 2 else 1)
