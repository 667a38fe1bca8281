"""Whether a ticket is of the network that it names, known before a tensor is read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mirl.config import UserError
from mirl.networks import NETWORKS, NetworkSection, build, outline
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.tickets import reading
from mirl.tickets.container import SealedFile
from mirl.tickets.writing import write, write_state

Forge = Callable[[Path, Callable[[dict[str, Any], State], None]], None]


@pytest.fixture
def file(make_ticket: Any, tmp_path: Path) -> Path:
    write(make_ticket(), tmp_path / "t.safetensors")
    return tmp_path / "t.safetensors"


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_built_is_what_building_and_loading_gives(
    name: str, make_ticket: Any, tmp_path: Path
) -> None:
    write(make_ticket(name), tmp_path / "t")
    ticket = reading.read(tmp_path / "t")
    network, expected = ticket.built(), build(ticket.network)
    expected.load_state_dict(ticket.state)
    for key, wanted in expected.state_dict().items():
        tensor = network.state_dict()[key]
        assert (
            torch.equal(tensor, wanted)
            and tensor.stride() == wanted.stride()
            and tensor.device == wanted.device
        )
    assert all(parameter.requires_grad for parameter in network.parameters())


def _wide(header: dict[str, Any], tensors: State) -> None:
    header["network"]["options"]["width"] = 2000


def _deep(header: dict[str, Any], tensors: State) -> None:
    header["network"]["options"]["middle"] = 256


def _half(header: dict[str, Any], tensors: State) -> None:
    tensors["full.head.bias"] = tensors["full.head.bias"].half()


def _stray(header: dict[str, Any], tensors: State) -> None:
    tensors["full.stray"] = torch.zeros(3)


def _whole(header: dict[str, Any], tensors: State) -> None:
    shape = header["shapes"].pop("head.weight")
    del tensors["mask.head.weight"]
    tensors["full.head.weight"] = tensors.pop("kept.head.weight").reshape(shape)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            _wide,
            r"do not fit its network: decoder.0.0.feed_in.bias is float32 \(8,\), expected float32 \(4000,\)",
        ),
        (_deep, "do not fit its network: network `nafnet` has more than 61 parameters"),
        (_half, "head.bias is float16"),
        (_stray, r"stray is float32 \(3,\), expected nothing"),
        (_whole, "head.weight is not masked, but prunable"),
    ],
)
def test_a_ticket_of_another_network_is_refused_before_a_tensor_is_read(
    change: Any, sentence: str, file: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge(file, change)
    monkeypatch.setattr(SealedFile, "tensors", lambda *_: pytest.fail("tensors are read"))
    with pytest.raises(UserError, match=sentence):
        reading.read(file)


def test_a_mask_of_what_is_not_prunable_is_refused(make_ticket: Any) -> None:
    ticket = make_ticket()
    keep = {**ticket.mask, "head.bias": torch.ones(4, dtype=torch.bool)}
    with pytest.raises(UserError, match="head.bias is masked, but not prunable"):
        replace(ticket, masks=Masks.one(Mask(keep))).outline()


def test_a_state_of_another_network_is_refused_before_a_tensor_is_read(
    make_ticket: Any, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = reading.read(file)
    write_state(ticket.state, tmp_path / "own", 5)
    write_state(make_ticket("restormer").state, tmp_path / "other", 5)
    assert reading.read_state(tmp_path / "own", ticket)[1] == 5
    monkeypatch.setattr(SealedFile, "tensors", lambda *_: pytest.fail("tensors are read"))
    with pytest.raises(UserError, match="other: the ticket's weights do not fit its network"):
        reading.read_state(tmp_path / "other", ticket)


def test_building_stops_where_there_are_no_more_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(
        torch, "ones", lambda *sizes, _ones=torch.ones: made.append(1) or _ones(*sizes)
    )  # of a norm
    with pytest.raises(UserError, match="more than 100 parameters"):
        outline(NetworkSection(name="nafnet", options={"middle": 256}), most=100)
    assert len(made) < 30
    assert outline(NetworkSection(name="nafnet")).multiple == 8  # what counted is gone


@pytest.mark.parametrize(
    "options",
    [
        {"width": 4097}, {"width": True}, {"width": -2}, {"width": 10**400}, {"blocks": [257, 1]}, {"blocks": [1] * 8},
        {"expansion": 1e300}, {"heads": [0, 1, 1, 1]}, {"blocks": [1], "heads": [1]}, {"prompt_sizes": [1025, 1, 1]},
        {"prompt_components": 2000}, {"refinement": 10**6}, {"blocks": [1] * 1_000_000},
    ],
)  # fmt: skip
def test_sizes_that_no_network_has_are_refused_in_a_short_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(UserError) as raised:
        NetworkSection.read({"name": "promptir", "options": options}, "t")
    assert len(str(raised.value)) < 700


def test_the_largest_sizes_have_shapes() -> None:
    options: dict[str, Any] = {"width": 4096, "blocks": [1] * 7, "heads": [1] * 7, "expansion": 16.0,
               "prompt_channels": [4096] * 6, "prompt_sizes": [256] * 6, "prompt_components": 256}  # fmt: skip
    assert outline(NetworkSection(name="promptir", options=options)).multiple == 64
