"""What a file may claim, by what it has: refused in a sentence, before it costs anything."""

import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mirl.config import UserError
from mirl.sparsity.mask import State
from mirl.tickets import bits, container
from mirl.tickets.container import DEPTH, KEY
from mirl.tickets.header import ELEMENTS_PER_BYTE, MOST_ELEMENTS, MOST_MASKS
from mirl.tickets.reading import inspect, read_state
from mirl.tickets.writing import write, write_state
from tests.tickets.unfitted import read

Header = dict[str, Any]
Forge = Callable[[Path, Callable[[Header, State], None]], None]
GOLDEN = Path(__file__).with_name("golden.safetensors")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whoever decodes a mask of it fails."""
    monkeypatch.setattr(bits, "decode", lambda *_: pytest.fail("a mask is decoded"))
    (tmp_path / "t.safetensors").write_bytes(GOLDEN.read_bytes())
    return tmp_path / "t.safetensors"


def _cut(header: Header, tensors: State, elements: int) -> None:
    """`body.weight` with nothing left of it."""
    header["shapes"]["body.weight"] = [elements]
    tensors["mask.body.weight"] = torch.zeros(0, dtype=torch.uint8)
    tensors["kept.body.weight"] = torch.zeros(0)


def _named(name: str) -> Callable[[Header, State], None]:
    return lambda header, tensors: tensors.update({name: torch.zeros(1)})


def _settings(value: Any) -> Callable[[Header, State], None]:
    return lambda header, tensors: header["lineage"]["settings"].update(x=value)


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda header, tensors: _cut(header, tensors, 2**20), "claims 1048582 weights in .* bytes, more than 256 for each"),
        (lambda header, tensors: _cut(header, tensors, 2**60), "which no layer has"),
        (lambda header, tensors: header["shapes"].update({"body.weight": [1] * 9}), "at most 8 items"),
        (lambda header, tensors: tensors.update({"full.x": torch.zeros([1] * 9)}), "9 dimensions"),
        (lambda header, tensors: tensors.update({"full.x": torch.zeros(0, 5)}), "full.x .*does not know"),
        (_named("full.a\nb"), r"names a tensor 'full.a\\nb', expected letters"),
        (_named("full." + "a" * 200), "names a tensor"),
        (_settings("x" * 2**20), "a header of .* bytes, expected at most 1048576"),
        (_settings(2**63), "is not a mirl-ticket file"),
        (_settings(_nested(DEPTH)), "is not a mirl-ticket file"),
        (lambda header, tensors: header.update(network=[1]), "`network` is"),
        (lambda header, tensors: header.update(density={"prunable": 0.5}), "`density.all` is missing"),
        (lambda header, tensors: header.update(version=10**18), "version 1000000000000000000, but"),
    ],
)  # fmt: skip
def test_what_a_file_cannot_hold_is_refused_before_it_is_decoded(
    change: Any, sentence: str, file: Path, forge: Forge
) -> None:
    forge(file, change)
    with pytest.raises(UserError, match=sentence) as raised:
        read(file)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 500


def test_as_many_elements_as_a_file_may_claim_are_read(tmp_path: Path, forge: Forge) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(GOLDEN.read_bytes())

    def fill(header: Header, tensors: State) -> None:
        elements = ELEMENTS_PER_BYTE * GOLDEN.stat().st_size // 2
        _cut(header, tensors, elements)
        header["density"] = {"prunable": 2 / (elements + 6), "all": 5 / (elements + 9)}

    forge(path, fill)
    assert read(path).mask.kept == 2


@pytest.mark.parametrize("number", ["9" * 5000, "[" + "9" * 4000 + "]", "1e999", "NaN", '1, "seed": 2'])
def test_numbers_and_keys_that_read_as_several_are_refused(number: str, file: Path) -> None:
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    listed = json.loads(data[8 : 8 + length])
    listed["__metadata__"][KEY] = listed["__metadata__"][KEY].replace('"seed":3', f'"seed":{number}')
    assert number in listed["__metadata__"][KEY]
    text = json.dumps(listed).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(UserError, match="is not a mirl-ticket file"):
        read(file)


def test_a_file_without_an_end_is_refused_before_it_is_mapped(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.truncate(file, 10**11)
    monkeypatch.setattr(container, "safe_open", lambda *_, **__: pytest.fail("it is mapped"))
    with pytest.raises(UserError, match="has 100000000000 bytes, expected at most 2147483648"):
        read(file)


@pytest.mark.parametrize("masks", [1, 2, 4, MOST_MASKS])
@pytest.mark.parametrize(("per_byte", "refused"), [(0.97, False), (1.05, True)])
def test_each_of_several_masks_counts_a_quarter_of_the_elements(
    masks: int, per_byte: float, refused: bool, forge: Forge, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the page: 1024 div (4 + s) for each byte, with s masks."""
    monkeypatch.undo()
    most, size = 1024 // (4 + masks), 400_000

    def fill(header: Header, tensors: State) -> None:
        for name in list(header["shapes"]):
            del tensors[f"mask.{name}"], tensors[f"kept.{name}"]
        none = torch.zeros(0, dtype=torch.uint8)
        tensors.update({"mask.w": none, "kept.w": torch.zeros(0), "full.filler": torch.zeros(size // 4)})
        tensors.update({f"sub.{number}.w": none for number in range(masks)})
        names = [f"m{number}" for number in range(masks)]
        header.update(version=3, shapes={"w": [int(per_byte * most * size)]})
        header["masks"] = [{"name": name, "kept": [0]} for name in names]
        header["routing"] = {"kind": "task", "tasks": {name: name for name in names}}

    forge(file, fill)
    if refused:
        with pytest.raises(UserError, match=f"weights in .* bytes, more than {most} for each"):
            inspect(file)
    else:
        assert inspect(file)["kept"] == {"w": 0}


def test_several_masks_lower_how_many_elements_there_may_be(forge: Forge, file: Path) -> None:
    def fill(header: Header, tensors: State) -> None:
        header.update(version=3, shapes={"w": [MOST_ELEMENTS * 4 // 7 + 1]})
        header["masks"] = [{"name": name, "kept": [0]} for name in ("a", "b", "c")]
        header["routing"] = {"kind": "task", "tasks": {"x": "a", "y": "b", "z": "c"}}

    forge(file, fill)
    with pytest.raises(
        UserError, match=f"more than {2**30 // 7} weights, which no network under 3 masks has"
    ):
        read(file)


def test_states_have_the_same_bounds(file: Path, forge: Forge) -> None:
    write_state({"x": torch.ones(2)}, file, 1)
    forge(file, lambda header, tensors: tensors.update({"full.y": torch.zeros([1] * 9)}))
    with pytest.raises(UserError, match="9 dimensions"):
        read_state(file)


def test_a_ticket_that_nobody_could_read_is_not_written(ticket: Any, tmp_path: Path) -> None:
    long = ticket.lineage.model_copy(update={"settings": {"x": "y" * 2**20}})
    with pytest.raises(UserError, match="a header of over 1048576 bytes"):
        write(replace(ticket, lineage=long), tmp_path / "t")
    assert not (tmp_path / "t").exists()
