"""Files that are well-formed and sealed, but not what the format allows: what a faulty writer would make."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mirl.config import UserError
from mirl.sparsity.mask import State
from mirl.tickets.header import MOST_ELEMENTS
from tests.tickets.unfitted import read

Header = dict[str, Any]
Change = Callable[[Header, State], None]
Forge = Callable[[Path, Change], None]

GOLDEN = Path(__file__).with_name("golden.safetensors")
FIRST = Path(__file__).with_name("golden-1.safetensors")


def _behind(header: Header, tensors: State) -> None:
    tensors["mask.body.weight"][-1] |= 1


def _lengthen(header: Header, tensors: State) -> None:
    tensors["mask.body.weight"] = torch.full((99,), 255, dtype=torch.uint8)


def _unmask(header: Header, tensors: State) -> None:
    del tensors["mask.body.weight"]


def _nan(header: Header, tensors: State) -> None:
    tensors["kept.body.weight"][0] = float("inf")


def _reshape(header: Header, tensors: State) -> None:
    header["shapes"]["body.weight"] = [2, 1, 2, 2]


def _negative(header: Header, tensors: State) -> None:
    header["shapes"]["body.weight"] = [-2, -1, 3, 3]


def _enormous(header: Header, tensors: State) -> None:
    header["shapes"]["body.weight"] = [MOST_ELEMENTS - 3]  # with the other six


def _stray(header: Header, tensors: State) -> None:
    tensors["momentum.body.weight"] = torch.zeros(1)


def _short(header: Header, tensors: State) -> None:
    tensors["full.body.bias"] = torch.zeros(2, dtype=torch.int16)


def _orphan(header: Header, tensors: State) -> None:
    del header["shapes"]["body.weight"]


def _twice(header: Header, tensors: State) -> None:
    tensors["full.body.weight"] = torch.zeros(2, 1, 3, 3)


def _half(header: Header, tensors: State) -> None:
    tensors["kept.body.weight"] = tensors["kept.body.weight"].half()


def _kind(header: Header, tensors: State) -> None:
    header["values"] = {"kind": "bf16", "packed_from": "1" * 64}


def _peakless(header: Header, tensors: State) -> None:
    header["values"] = {"kind": "int8", "packed_from": "1" * 64}
    for name in header["shapes"]:
        tensors[f"kept.{name}"] = tensors[f"kept.{name}"].to(torch.int8)


def _levels(header: Header, tensors: State) -> None:
    _peakless(header, tensors)
    for name in header["shapes"]:
        tensors[f"peak.{name}"] = torch.ones(())
    tensors["kept.body.weight"][0] = -128


def _unpacked(header: Header, tensors: State) -> None:
    header["values"]["packed_from"] = "1" * 64


def _nothing(header: Header, tensors: State) -> None:
    for name in header["shapes"]:
        del tensors[f"mask.{name}"], tensors[f"kept.{name}"]
    header["shapes"] = {}


def _routing(header: Header, tensors: State) -> None:
    header["routing"] = {"kind": "by-difficulty"}


def _routing_of_no_kind(header: Header, tensors: State) -> None:
    header["routing"] = {"kind": ["static"]}


def _density(header: Header, tensors: State) -> None:
    header["density"]["prunable"] = 0.1


def _unknown(header: Header, tensors: State) -> None:
    header["note"] = "hello"


def _lineage(header: Header, tensors: State) -> None:
    del header["lineage"]["seed"]


def _newer(header: Header, tensors: State) -> None:
    header["version"] = 4
    header["stuff"] = {}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_behind, "body.weight in a way that cannot be: its code marks 10 elements"),
        (_lengthen, "body.weight in a way that cannot be: its code"),
        (_unmask, "no mask for body.weight"),
        (_nan, "kept.body.weight holds a value that is not finite"),
        (_reshape, "no kept fp32 weights that fit body.weight"),
        (_negative, r"shape \[-2, -1, 3, 3\], which no layer has"),
        (_enormous, "more than 268435456 weights, which no network has"),
        (_stray, r"holds momentum.body.weight \(F32\), which the format does not know"),
        (_short, r"holds full.body.bias \(I16\), which the format does not know"),
        (_orphan, "which the format does not know"),
        (_twice, "no kept fp32 weights that fit body.weight"),
        (_half, "no kept fp32 weights that fit body.weight"),
        (_kind, "no kept bf16 weights that fit"),
        (_peakless, "no kept int8 weights that fit"),
        (_levels, "body.weight in a way that cannot be: a level is below -127"),
        (_unpacked, "`values`: .* all others from a ticket"),
        (_nothing, "`shapes` is {}"),
        (_routing, "routing 'by-difficulty', but this mirl knows static"),
        (_routing_of_no_kind, r"routing \['static'\], but this mirl knows static"),
        (_density, "claims the densities"),
        (_unknown, "`note` is not a known key"),
        (_lineage, "`lineage.seed` is missing"),
        (_newer, "version 4, but this mirl reads up to 3; install a newer mirl"),
    ],
)
def test_what_the_format_does_not_allow_is_refused_in_one_sentence(
    change: Change, sentence: str, forge: Forge, tmp_path: Path
) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(GOLDEN.read_bytes())
    forge(path, change)
    with pytest.raises(UserError, match=sentence) as raised:
        read(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda header, tensors: header.update(values={"kind": "fp32"}), "`values` is not a known key"),
        (lambda header, tensors: tensors.update({"mask.head.weight": torch.tensor([255], dtype=torch.uint8)}),
         "not 2 bits of 4"),
        (lambda header, tensors: header.update(version=0), "version 0 of mirl-ticket, which does not exist"),
    ],
)  # fmt: skip
def test_version_1_is_checked_as_it_was(change: Change, sentence: str, forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(FIRST.read_bytes())
    forge(path, change)
    with pytest.raises(UserError, match=sentence):
        read(path)
