import pytest
import torch
from torch import nn

from mirl.networks import NETWORKS, NetworkSection, build
from mirl.restore.memory import ALLOWANCE, bytes_per_pixel


def floats(network: nn.Module) -> float:
    """Peak per pixel, counted in float32 values."""
    return bytes_per_pixel(network, 8) / ALLOWANCE / 4


def test_peak_counted_by_hand() -> None:
    # While the second convolution works: the picture, its 8 channels, and the 3 that come out.
    assert floats(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1))) == 3 + 8 + 3


def test_what_is_no_longer_needed_does_not_count() -> None:
    inner = [nn.Conv2d(8, 8, 1) for _ in range(10)]
    assert floats(nn.Sequential(nn.Conv2d(3, 8, 1), *inner, nn.Conv2d(8, 3, 1))) == 3 + 8 + 8


class Remembers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.stack([self.wide(x) for _ in range(4)]).mean((0, 2), keepdim=False)[:, None]


def test_what_is_still_needed_counts() -> None:
    assert floats(Remembers()) >= 3 + 4 * 16 * 2


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_stay_where_they_are(name: str) -> None:
    network = build(
        NetworkSection(name=name, options={"width": 8} if name == "nafnet" else {"blocks": [1] * 4})
    )
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert bytes_per_pixel(network, network.multiple) > 2 * 3 * 4
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
