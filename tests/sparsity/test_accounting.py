import pytest
import torch
from torch import Tensor, nn

from mirl.networks import NETWORKS, prunable
from mirl.sparsity.accounting import Macs, densities, macs, training_flops
from mirl.sparsity.mask import Mask


class Small(nn.Module):
    """One layer of each kind; the two in the middle run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 2, 3, padding=1)
        self.down = nn.Conv2d(2, 4, 2, stride=2, groups=2)
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.flat = nn.Linear(3, 7)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.up(self.down(self.wide(x_BCHW)) * 2)
        return self.flat(self.up(self.down(y_BCHW[:, :2])).mean((2, 3)))


# At 4 x 6 pixels: places times weights; a transposed convolution's places are those of its input.
WIDE, DOWN, UP, FLAT = 24 * 54, 2 * 6 * 16, 2 * 6 * 48, 21


def full(network: nn.Module) -> dict[str, Tensor]:
    return dict(Mask.full(prunable(network, prompts=False)))


def test_dense_macs_counted_by_hand() -> None:
    got = macs(Small(), Mask(full(Small())), 4, 6)
    assert got.dense_g == got.kept_g == pytest.approx((WIDE + DOWN + UP + FLAT) / 1e9)


@pytest.mark.parametrize("layer, share", [("wide", WIDE), ("down", DOWN), ("up", UP), ("flat", FLAT)])
def test_a_layer_spares_its_masked_share(layer: str, share: int) -> None:
    keep = full(Small())
    size = keep[f"{layer}.weight"].numel()
    keep[f"{layer}.weight"].flatten()[: size // 3] = False
    got = macs(Small(), Mask(keep), 4, 6)
    spared = share * (size // 3) / size
    assert got.dense_g - got.kept_g == pytest.approx(spared / 1e9)


def test_counting_leaves_the_network_as_it_was() -> None:
    network = Small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    macs(network, Mask(full(network)), 4, 6)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_full_size_macs_are_those_of_the_papers() -> None:
    """PromptIR 172.7 G in all; Restormer 140.99 G by its authors' count, which is of convolutions only."""
    found = {}
    for name in ("promptir", "restormer"):
        with torch.device("meta"):
            network = NETWORKS[name](NETWORKS[name].Options())
        weights = prunable(network, prompts=False)
        nothing = Mask({n: torch.zeros(w.shape, dtype=torch.bool) for n, w in weights.items()})
        found[name] = macs(network, nothing, 256, 256)
    assert found["promptir"].dense_g == pytest.approx(172.7, abs=0.05)
    restormer = found["restormer"]
    assert restormer.dense_g - restormer.kept_g == pytest.approx(140.99, abs=0.01)


def test_a_sample_costs_three_forward_passes_of_two_operations_a_mac() -> None:
    assert training_flops(Macs(dense_g=2.0, kept_g=0.5), samples=10) == (30e9, 120e9)


def test_densities_over_prunable_and_over_all() -> None:
    mask = Mask({"a": torch.tensor([True, False, False, False])})
    assert densities(mask, parameters=10) == (0.25, 0.7)
    prunable_density, all_density = densities(Mask.full({"a": torch.ones(4)}), parameters=10)
    assert prunable_density == all_density == 1.0


def test_densities_of_the_published_last_round() -> None:
    """15 rounds at 20 %: 3.52 % of the prunable weights, 10.01 % of all parameters (docs/methods)."""
    mask = Mask({"a": torch.arange(33_199_064) < 1_168_088})
    got = densities(mask, parameters=35_592_263)
    assert got.prunable == pytest.approx(0.0352, abs=5e-5)
    assert got.all == pytest.approx(0.1001, abs=5e-5)
