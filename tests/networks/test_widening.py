"""Which networks can be widened, and that what a narrower one computes is computed from a corner of the wider one."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mirl.config import UserError
from mirl.networks import NETWORKS, NetworkSection, build, widening
from mirl.networks.layers import ChannelNorm
from tests.conftest import TINY

WIDER: dict[str, dict[str, Any]] = {
    "edsr": {"width": 6},
    "fsrcnn": {"width": 6, "narrow": 3},
    "nafnet": {"width": 6},
}
"""Of networks that can be widened: their widths, half as many again."""


def section(name: str) -> NetworkSection:
    return NetworkSection(name=name, options=TINY[name], seed=3)


def state(wanted: NetworkSection) -> dict[str, Tensor]:
    """First weights, moved so that no norm, bias or scale is 0 or 1."""
    noise = torch.Generator().manual_seed(1)
    return {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=noise)
        for name, tensor in build(wanted).state_dict().items()
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_widened_or_says_that_it_cannot_be(name: str) -> None:
    if name not in WIDER:
        with pytest.raises(UserError, match=f"the network {name} cannot be widened, .*; leave out `widen`"):
            widening.widened(section(name), 1.5, ["one"])
        return
    wider = widening.widened(section(name), 1.5, ["first"])
    assert wider.options == TINY[name] | WIDER[name] and wider.narrower == {"first": TINY[name]}
    again = widening.widened(wider, 2.0, ["first", "second"])
    assert again.narrower == {"first": TINY[name], "second": wider.options}
    assert widening.own_network(again, "second") == wider.model_copy(update={"narrower": {}})
    assert widening.own_network(again, "third").options == again.options
    assert "narrower" not in section(name).spec()
    assert NetworkSection.read(again.spec(), "test") == again
    with pytest.raises(
        UserError, match=r"widened 1.01 times, `\w+` of \w+ stays at \d+; use a larger `widen`"
    ):
        widening.widened(section(name), 1.01, [])


@pytest.mark.parametrize("name", WIDER)
def test_what_was_put_into_a_corner_comes_out_of_it(name: str) -> None:
    narrow = section(name)
    wider = widening.widened(narrow, 1.5, ["first"])
    widest = widening.widened(wider, 1.5, ["first", "second"])
    own, fresh = state(narrow), state(wider)
    put = widening.put_in(own, fresh, narrow)
    where = widening.corners(wider, "first")
    assert all(torch.equal(tensor, own[key]) for key, tensor in widening.cut_out(put, where).items())
    for key, tensor in put.items():
        outside = ~widening.inside(tensor, where[key])
        assert torch.equal(tensor[outside], fresh[key][outside]), key
    twice = widening.put_in(put, state(widest), wider)
    for mask, expected in (("first", own), ("second", put)):
        found = widening.cut_out(twice, widening.corners(widest, mask))
        assert all(torch.equal(tensor, expected[key]) for key, tensor in found.items()), mask
    assert widening.corners(widest, "third") == {}


@pytest.mark.parametrize("name", WIDER)
def test_the_halves_of_a_gate_stay_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for norms, the wider network computes the same if all of its new weights are zero."""
    narrow = section(name)
    first_BCHW, wider_BCHW = _both(narrow)
    assert torch.allclose(first_BCHW, wider_BCHW, atol=1e-5)
    if NETWORKS[name].gated:
        monkeypatch.setattr(NETWORKS[name], "gated", ())
        assert not torch.allclose(first_BCHW, _both(narrow)[1], atol=1e-2)


def test_a_norm_over_channels_sees_those_that_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a narrower network has to be run by itself."""
    monkeypatch.setitem(globals(), "_without_norms", lambda network: network)
    first_BCHW, wider_BCHW = _both(section("nafnet"))
    assert (first_BCHW - wider_BCHW).abs().max() > 0.01


def _both(narrow: NetworkSection) -> list[Tensor]:
    """Return the output of the network, and that of a wider one with its weights in the corner and zeros elsewhere."""
    wider = widening.widened(narrow, 1.5, ["first"])
    zeros = {key: torch.zeros_like(tensor) for key, tensor in state(wider).items()}
    states = (narrow, state(narrow)), (wider, widening.put_in(state(narrow), zeros, narrow))
    image_BCHW = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = []
    for wanted, values in states:
        network = build(wanted)
        network.load_state_dict(values)
        with torch.no_grad():
            found.append(_without_norms(network)(image_BCHW))
    return found


def _without_norms(network: nn.Module) -> nn.Module:
    for module in list(network.modules()):
        for child, norm in list(module.named_children()):
            if isinstance(norm, ChannelNorm):
                setattr(module, child, nn.Identity())
    return network


def test_a_network_that_is_no_corner_is_refused() -> None:
    network = section("nafnet")
    larger = network.model_copy(update={"narrower": {"first": TINY["nafnet"] | {"width": 8}}})
    with pytest.raises(UserError, match="has no corner of"):
        widening.corners(larger, "first")
    other = network.model_copy(update={"narrower": {"first": TINY["nafnet"] | {"middle": 2}}})
    with pytest.raises(
        UserError, match=r"network `nafnet` has more than \d+ parameters"
    ):  # and no more are made
        widening.corners(other, "first")
    deeper = {"encoder": [], "decoder": [], "middle": 3}  # no more tensors, but others
    unlike = network.model_copy(update={"narrower": {"first": TINY["nafnet"] | deeper}})
    with pytest.raises(UserError, match="sub-network first has other layers than the whole"):
        widening.corners(unlike, "first")
    with pytest.raises(UserError, match="narrower"):
        NetworkSection.read(network.spec() | {"narrower": {"first": {"depth": 2}}}, "test")
