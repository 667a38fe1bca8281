from typing import Any

import pytest
import torch

from mirl.config import UserError
from mirl.networks.nafnet import Nafnet, NafnetOptions


def parameters(**options: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Nafnet(NafnetOptions(**options)).parameters())


def test_default_size() -> None:
    assert parameters() == 404_908


def test_size_counted_by_hand() -> None:
    # No level: head 3*4*9+4, block at 4 channels (8+40+80+20+20+4 + 8+40+20+4), tail 4*3*9+3.
    assert parameters(width=4, encoder=[], middle=1, decoder=[], shuffle=1) == 112 + 244 + 111


@pytest.mark.parametrize("levels, shuffle, multiple", [(0, 1, 1), (1, 1, 2), (2, 2, 8), (1, 4, 8)])
def test_multiple_covers_levels_and_shuffle(levels: int, shuffle: int, multiple: int) -> None:
    options = NafnetOptions(width=2, encoder=[1] * levels, decoder=[1] * levels, shuffle=shuffle)
    network = Nafnet(options)
    assert network.multiple == multiple
    x_BCHW = torch.zeros(1, 3, multiple, 3 * multiple)
    assert network(x_BCHW).shape == x_BCHW.shape


def test_encoder_and_decoder_have_as_many_levels() -> None:
    with pytest.raises(UserError, match="`encoder` has 1 levels"):
        NafnetOptions.read({"encoder": [1]}, "params.yaml")
