"""What a network of a user's own promises is tried out before it is trained."""

import pytest
import torch
from torch import Tensor, nn

from mirl.config import UserError
from mirl.networks import NETWORKS, Network, NetworkSection, build, prunable
from mirl.networks.contract import refuse_unfit
from tests.conftest import TINY


class Good(Network):
    multiple = 1

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out_BCHW: Tensor = self.last(self.first(x_BCHW))
        return out_BCHW


class Cropping(Good):
    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW)[..., 1:]


class Double(Good):
    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW).double()


class Halved(Good):
    """Says that it enlarges, and does not."""

    scale = 2


class Idle(Good):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(2, 2)


class Twice(Good):
    def __init__(self) -> None:
        super().__init__()
        self.again = self.last


class Routed(Good):
    """Routes by itself, with weights that would silently be left out of pruning."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Conv2d(3, 3, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(self.router(x_BCHW))


class Empty(Network):
    multiple = 1

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Cropping, "Cropping makes 1 x 3 x 8 x 7 float32 of 1 x 3 x 8 x 8 float32, expected the same"),
        (Double, "makes 1 x 3 x 8 x 8 float64 of"),
        (Idle, "Idle has the weight idle.weight, which has no part in what its `forward` returns"),
        (
            Halved,
            "Halved makes 1 x 3 x 8 x 8 float32 of 1 x 3 x 8 x 8 float32, expected 1 x 3 x 16 x 16 by its `scale`",
        ),
        (Twice, "Twice has the parameter again.bias under two names"),
        (Routed, "Routed has a submodule called router, a name that mirl gives"),
        (Empty, "Empty has no convolution and no linear layer"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(kind: type[Network], sentence: str) -> None:
    network = kind()
    with pytest.raises(UserError, match=sentence):
        refuse_unfit(network, prunable(network, prompts=False), 8)


def test_every_head_is_tried_out() -> None:
    network = build(NetworkSection(name="edsr", options={"width": 4, "blocks": 1, "scales": [2, 3, 4]}))
    refuse_unfit(network, prunable(network, prompts=False), 8)


@pytest.mark.parametrize("name", NETWORKS)
def test_ours_pass_and_nothing_is_drawn(name: str) -> None:
    network = build(NetworkSection(name=name, options=TINY[name]))
    before = torch.get_rng_state()
    refuse_unfit(network, prunable(network, prompts=True), 8)
    assert torch.equal(torch.get_rng_state(), before)
