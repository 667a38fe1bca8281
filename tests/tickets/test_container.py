import errno
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from mirl.config import UserError
from mirl.tickets.container import FileKind, opened, save_sealed, sha256_of
from mirl.tickets.writing import TICKET

KIND = FileKind(format="mirl-test", version=2)
TENSORS = {
    "b": torch.arange(3.0),
    "a": torch.tensor([True, False]),
    "c": torch.tensor(2.5, dtype=torch.bfloat16),
}


def _header(path: Path) -> None:
    with opened(path, KIND):
        pass


def test_what_is_written_comes_back_and_shares_nothing_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    digest = save_sealed(path, KIND, {"n": 1}, TENSORS)
    with opened(path, KIND) as file:
        assert file.header["n"] == 1
        assert file.shapes == {"a": ("BOOL", [2]), "b": ("F32", [3]), "c": ("BF16", [])}
        tensors = file.tensors()
        assert file.sha256() == digest
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    assert sha256_of(path) == digest and list(tmp_path.iterdir()) == [path]
    with path.open("r+b") as file:  # safetensors maps the file: without a copy, this would reach the weights
        file.write(bytes(path.stat().st_size))
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_the_order_of_the_tensors_does_not_show(tmp_path: Path) -> None:
    one = save_sealed(tmp_path / "1", KIND, {"n": 1, "m": 2}, TENSORS)
    assert save_sealed(tmp_path / "2", KIND, {"m": 2, "n": 1}, dict(reversed(TENSORS.items()))) == one


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "x.safetensors"
    before = save_sealed(path, KIND, {"n": 1}, TENSORS)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, full)
    with pytest.raises(UserError, match=r"x\.safetensors cannot be written: No space left"):
        save_sealed(path, KIND, {"n": 2}, TENSORS)
    monkeypatch.undo()
    assert sha256_of(path) == before and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written: No such file"):
        save_sealed(tmp_path / "no" / "x", KIND, {}, TENSORS)


@pytest.mark.parametrize("cut", [0, 5, 8, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.safetensors"
    save_sealed(path, KIND, {"n": 1}, TENSORS)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"x\.safetensors"):
        _header(path)


def test_any_changed_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_sealed(path, KIND, {"n": 1, "words": "abc"}, TENSORS)
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            with opened(path, KIND) as file:
                header, tensors = file.header, file.tensors()
        except UserError:
            continue
        # what reads all the same says the same: a changed space in safetensors' padding
        assert header["n"] == 1 and all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS), at


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            FileKind(format="mirl-test", version=3),
            "is mirl-test version 3, but this mirl reads up to 2; install a newer",
        ),
        (FileKind(format="mirl-test", version=0), "version 0 of mirl-test, which does not exist"),
        (FileKind(format="other", version=2), "is not a mirl-test file"),
    ],
)
def test_another_kind_or_version_is_refused(tmp_path: Path, kind: FileKind, sentence: str) -> None:
    save_sealed(tmp_path / "x", kind, {}, TENSORS)
    with pytest.raises(UserError, match=sentence):
        _header(tmp_path / "x")


@pytest.mark.parametrize("text", ["", "[]", "{", "NaN", '{"format": "mirl-test", "x": 1e999}', "[" * 100_000])
def test_a_header_that_is_not_ours_is_refused(tmp_path: Path, text: str) -> None:
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / "x", {"mirl": text})
    with pytest.raises(UserError, match="is not a mirl-test file"):
        _header(tmp_path / "x")


def test_little_of_a_file_is_quoted(tmp_path: Path) -> None:
    listed = json.dumps({"a": {"dtype": "F32", "shape": ["9" * 3000], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(listed)) + listed + bytes(4))
    with pytest.raises(UserError, match="truncated or no safetensors file") as got, opened(path, TICKET):
        pass
    assert len(str(got.value)) < 300 + len(str(path))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no.safetensors", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            _header(path)
