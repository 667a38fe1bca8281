import pytest
import torch

from mirl.config import UserError
from mirl.networks import NetworkSection, build, outline, prunable
from mirl.networks.edsr import Edsr
from mirl.networks.heads import head_kept, scale_of, working
from mirl.sparsity.accounting import macs
from mirl.sparsity.mask import Mask
from tests.enlarging import doing_nothing

SMALL = {"width": 4, "blocks": 2}


def section(*scales: int) -> NetworkSection:
    return NetworkSection(name="edsr", options={**SMALL, "scales": list(scales)}, seed=1)


@pytest.mark.parametrize(
    ("scale", "millions", "g_macs", "head"),
    [(2, 1.37, 316.3, 0.11), (3, 1.55, 160.2, 0.22), (4, 1.52, 114.0, 0.39)],
)
def test_the_baseline_has_the_parameters_and_the_work_of_the_paper(
    scale: int, millions: float, g_macs: float, head: float
) -> None:
    """Multiply-accumulates for an enlarged image of 1280 x 720, as the tables of CARN (arXiv 1803.08664) count them."""
    network = outline(NetworkSection(name="edsr", options={"scales": [scale]}))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert round(parameters / 1e6, 2) == millions
    weights = prunable(network, prompts=False)
    body = Mask(
        {n: torch.full(w.shape, scale_of(n) is not None, dtype=torch.bool) for n, w in weights.items()}
    )
    found = macs(network, body, 720, 1280)  # shapes are run, and 720 is a multiple of all scales
    assert found.dense_g / scale**2 == pytest.approx(g_macs, rel=0.0025)
    assert found.kept_g / found.dense_g == pytest.approx(head, abs=0.006)


def test_one_body_with_three_heads_is_45_percent_of_three_networks() -> None:
    def count(*scales: int) -> int:
        network = outline(NetworkSection(name="edsr", options={"scales": list(scales)}))
        return sum(parameter.numel() for parameter in network.parameters())

    assert count(2, 3, 4) / (count(2) + count(3) + count(4)) == pytest.approx(0.45, abs=0.002)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_network_of_which_nothing_is_left_enlarges_as_doing_nothing_does(scale: int) -> None:
    network = build(section(scale))
    image_BCHW = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(scale))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        assert torch.equal(network(image_BCHW), doing_nothing(image_BCHW, scale))


def test_with_several_heads_each_scale_is_that_of_its_own_network() -> None:
    """The first weights of the body and of a head are the same, whatever heads come after."""
    network = build(section(2, 3, 4))
    assert isinstance(network, Edsr) and network.scale == 2
    image_BCHW = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    for scale in (2, 3, 4):
        one = network.only(scale)
        assert one.scale == scale and one(image_BCHW).shape == (1, 3, 6 * scale, 8 * scale)
        assert list(one.state_dict()) == list(working(network.state_dict(), [scale]))
        assert all(parameter is network.get_parameter(name) for name, parameter in one.named_parameters())
    alone = build(section(2))
    assert torch.equal(alone(image_BCHW), network(image_BCHW))
    assert list(network.heads) == ["x2", "x3", "x4"] and list(network.only(3).heads) == ["x3"]


def test_the_section_says_which_heads_there_are() -> None:
    assert section(2, 3).scales == (2, 3) and section(3).scales == ()
    assert NetworkSection(name="nafnet").scales == NetworkSection(name="mynets:Unknown").scales == ()
    assert section(4, 2, 3).with_heads([3, 4]) == section(4, 3)
    assert section(3).with_heads([3]) == section(3)
    with pytest.raises(UserError, match="`options`.*a scale is named twice; name it once"):
        NetworkSection.read({"name": "edsr", "options": {"scales": [2, 2]}}, "params.yaml")


def test_the_head_of_a_mask_is_the_first_of_which_it_keeps_something() -> None:
    weights = prunable(build(section(2, 3)), prompts=False)
    nothing = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    some = {**nothing, "heads.x3.tail.weight": nothing["heads.x3.tail.weight"].clone()}
    some["heads.x3.tail.weight"][1, 2, 0, 0] = True
    assert head_kept(some, [2, 3]) == 3 and head_kept(Mask.full(weights), [2, 3]) == 2
    with pytest.raises(UserError, match="keeps nothing of the heads for x2, x3, so it enlarges by no scale"):
        head_kept(nothing, [2, 3])
