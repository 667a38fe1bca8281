"""What every network promises, over every entry of NETWORKS."""

import json

import pytest
import torch
from torch import Tensor, nn

from mirl.config import UserError
from mirl.networks import NETWORKS, Network, NetworkSection, build, prunable
from mirl.networks.layers import ChannelNorm
from tests.enlarging import doing_nothing

TINY: dict[str, dict] = {
    "edsr": {"width": 4, "blocks": 2, "scales": [4]},
    "fsrcnn": {"width": 4, "narrow": 2, "layers": 1, "scale": 2},
    "nafnet": {"width": 4},
    "promptir": {
        "width": 4,
        "blocks": [1, 1, 1],
        "heads": [1, 2, 2],
        "refinement": 1,
        "prompt_channels": [4, 6],
        "prompt_sizes": [4, 3],
    },
    "restormer": {"width": 4, "blocks": [1, 1, 1], "heads": [1, 2, 2], "refinement": 1},
}
WITHOUT_NORMS = {"edsr"}
every_network = pytest.mark.parametrize("name", NETWORKS)


def tiny(name: str, seed: int = 0) -> Network:
    return build(NetworkSection(name=name, options=TINY[name], seed=seed))


def image(height: int, width: int, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height + width))


def test_every_network_is_under_this_contract() -> None:
    assert set(TINY) == set(NETWORKS)


@every_network
@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 3), (4, 2), (3, 5)])
def test_output_has_the_shape_of_the_input_times_the_scale(name: str, rows: int, columns: int) -> None:
    network = tiny(name)
    x_BCHW = image(rows * network.multiple, columns * network.multiple)
    with torch.no_grad():
        height, width = (side * network.scale for side in x_BCHW.shape[2:])
        assert network(x_BCHW).shape == (*x_BCHW.shape[:2], height, width)


@every_network
def test_output_is_the_input_plus_a_residual_not_clamped(name: str) -> None:
    network = tiny(name)
    x_BCHW = 5 * image(16, 16) - 2
    nothing_BCHW = doing_nothing(x_BCHW, network.scale)
    with torch.no_grad():
        assert not torch.equal(network(x_BCHW), nothing_BCHW)
        tails = [module for name, module in network.named_modules() if name.split(".")[-1] == "tail"]
        assert len(tails) == 1
        for parameter in tails[0].parameters():
            parameter.zero_()
        assert torch.equal(network(x_BCHW), nothing_BCHW)


@every_network
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = tiny(name)
    x_BCHW = image(32, 32)
    side = 32 * network.scale
    (network(x_BCHW) - image(side, side)).abs().mean().backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@every_network
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    torch.default_generator.manual_seed(1)
    first = tiny(name, seed=7).state_dict()
    torch.default_generator.manual_seed(2)
    again = tiny(name, seed=7).state_dict()
    other = tiny(name, seed=8).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_network
def test_global_generator_is_untouched(name: str) -> None:
    before = torch.get_rng_state()
    tiny(name)
    assert torch.equal(torch.get_rng_state(), before)


@every_network
def test_built_on_the_cpu_in_channels_last_memory(name: str) -> None:
    with torch.device("meta"):
        network = tiny(name)
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())
    images = [p for p in network.parameters() if p.dim() == 4]
    assert images and all(p.is_contiguous(memory_format=torch.channels_last) for p in images)


@every_network
def test_memory_format_changes_nothing(name: str) -> None:
    x_BCHW = image(16, 24)
    with torch.no_grad():
        last = tiny(name)(x_BCHW.contiguous(memory_format=torch.channels_last))
        network = tiny(name).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # torch stubs
        contiguous = network(x_BCHW.contiguous())
    torch.testing.assert_close(last, contiguous, rtol=1e-4, atol=1e-5)


@every_network
def test_an_image_does_not_depend_on_its_batch(name: str) -> None:
    network, x_BCHW = tiny(name), image(16, 16, batch=3)
    with torch.no_grad():
        torch.testing.assert_close(network(x_BCHW)[1:2], network(x_BCHW[1:2]), rtol=1e-4, atol=1e-5)


@every_network
def test_bf16_stays_near_float32(name: str) -> None:
    network, x_BCHW = tiny(name), image(16, 16)
    with torch.no_grad():
        exact = network(x_BCHW)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(x_BCHW)
    assert (rough - exact).abs().max() < 0.02


@every_network
def test_prunable_is_chosen_by_module_type(name: str) -> None:
    network = tiny(name)
    found = prunable(network, prompts=False)
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    weighted = [n for n, m in network.named_modules() if isinstance(m, kinds)]
    norms = [n for n, m in network.named_modules() if isinstance(m, ChannelNorm | nn.PReLU)]
    assert list(found) == sorted(f"{n}.weight" for n in weighted)
    assert bool(norms) == (name not in WITHOUT_NORMS) and not any(f"{n}.weight" in found for n in norms)
    left = set(dict(network.named_parameters())) - set(found)
    assert all(
        n.rsplit(".", 1)[-1] in {"weight", "bias", "temperature", "prompts"} or "scale" in n for n in left
    )
    assert all(parameter is network.get_parameter(n) for n, parameter in found.items())


@every_network
def test_unknown_option_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(
        UserError, match=r"`options`: .*`wdith` is not a known key; did you mean `width`"
    ) as got:
        NetworkSection.read({"name": name, "options": {"wdith": 3}}, "params.yaml")
    assert all(option in str(got.value) for option in NETWORKS[name].Options.model_fields)
    with pytest.raises(UserError, match="wdith"):
        build(NetworkSection.model_construct(name=name, options={"wdith": 3}))


@every_network
@pytest.mark.parametrize("options", [{"width": "32"}, {"width": 0}, {"width": 3.5}, {"width": True}])
def test_ill_typed_option_is_refused(name: str, options: dict) -> None:
    with pytest.raises(UserError, match="width"):
        NetworkSection.read({"name": name, "options": options}, "params.yaml")


@every_network
def test_section_survives_json(name: str) -> None:
    section = NetworkSection(name=name, options=TINY[name], seed=3)
    back = NetworkSection.read(json.loads(json.dumps(section.model_dump())), "ticket")
    assert back == section
    first, again = build(section).state_dict(), build(back).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="edsr, fsrcnn, nafnet, promptir, restormer"):
        NetworkSection.read({"name": "nafnot"}, "params.yaml")
