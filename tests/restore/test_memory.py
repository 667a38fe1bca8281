import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mirl.networks import NETWORKS, NetworkSection, build
from mirl.networks.nafnet import NafBlock
from mirl.restore.memory import ALLOWANCE, bytes_per_pixel, least_memory, pixels_in
from mirl.restore.photograph import bytes_held
from mirl.tickets import writing
from tests.conftest import TINY

THIN = {"width": 2, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 8}


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


def test_a_block_of_nafnet_lets_go_of_what_it_has_used() -> None:
    """The most is held while the second branch widens: the picture, and in planes of the block's two channels what came
    in, its sum with the first branch, what that has gated, and both sides of the convolution, 1 and 2."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1), NafBlock(2))
    assert floats(network) == pytest.approx(3 + 2 * (1 + 1 + 1 + 1 + 2), abs=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_stay_where_they_are(name: str) -> None:
    network = build(NetworkSection(name=name, options=TINY[name]))
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert bytes_per_pixel(network, network.multiple) > 2 * 3 * 4
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@given(
    size=st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    pixels=st.integers(1, 10**6),
    per_pixel=st.floats(10, 10_000),
    itemsize=st.sampled_from([1, 2]),
)
def test_the_least_memory_is_enough(
    size: tuple[int, int], pixels: int, per_pixel: float, itemsize: int
) -> None:
    memory = int(least_memory(pixels, per_pixel, size, itemsize)) + 1
    assert pixels_in(memory, per_pixel, size, itemsize) >= min(pixels, size[0] * size[1])
    found = pixels_in(memory, per_pixel, size, itemsize)
    assert found * per_pixel + bytes_held(*size, itemsize) <= memory


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's high-water mark is read from /proc")
def test_a_photograph_of_24_megapixels_stays_within_the_budget(make_ticket: Any, tmp_path: Path) -> None:
    ticket, root = tmp_path / "ticket.safetensors", Path(__file__).parents[2]
    writing.write(make_ticket("nafnet", options=THIN), ticket)
    command = [sys.executable, "-m", "benchmarks.memory", str(ticket), "--memory", "400M"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6000 x 4000, 8 bits" in done.stdout
