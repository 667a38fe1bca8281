import pytest
import torch

from mirl.config import UserError
from mirl.networks.restormer import Restormer, TransformerOptions


def test_full_size_is_the_published_one() -> None:
    with torch.device("meta"):
        network = Restormer(TransformerOptions())
    # 26.13 M in the paper's table.
    assert sum(p.numel() for p in network.parameters()) == 26_126_644
    assert network.multiple == 8


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"blocks": [1, 1]}, "`blocks` has 2 levels"),
        ({"heads": [1, 2, 5, 8]}, "5 heads do not divide the 192 channels"),
        ({"blocks": [1], "heads": [1]}, "blocks"),
        ({"width": 47}, "width"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        TransformerOptions.read(options, "params.yaml")
