"""params.yaml means one thing: what mirl reads is what DVC reads, and what one of them refuses the other does."""

import random
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import load_yaml

from mirl.config import UserError
from mirl.yaml import parse_yaml, read_yaml, yaml_text
from tests.fuzz.conftest import within_bounds
from tests.fuzz.documents import document, plain, scalar
from tests.fuzz.mutations import mutations

CASES = 1000
ROOT = Path(__file__).parents[2]
OURS_ALONE = ("is written twice", "is no character of a text", "repeated ones counted")
"""What mirl refuses and DVC may take: a key twice beside `<<`, a byte order mark within the text, a value in itself."""


def compared(path: Path, name: str) -> bool:
    """Whether mirl reads the file; fails where its reading is not DVC's."""
    with within_bounds(name):
        try:
            ours = read_yaml(path) or {}  # as DVC: nothing is an empty document
        except UserError as error:
            said = str(error)
            assert "\n" not in said and str(path) in said, name
            assert any(words in said for words in OURS_ALONE) or refused_by_dvc(path), f"{name}: {said}"
            return False
    assert repr(load_yaml(path)) == repr(ours), name  # `repr`: 1 is not true, and nan is itself
    return True


def refused_by_dvc(path: Path) -> bool:
    try:
        load_yaml(path)
    except Exception:  # it lets what its parser raises through
        return True
    return False


def test_a_scalar_is_what_dvc_takes_it_for(tmp_path: Path) -> None:
    read = []
    for number in range(CASES):
        text = scalar(random.Random(f"scalar/{number}"))
        path = tmp_path / "params.yaml"
        path.write_bytes(f"key: {text}\n".encode())
        read.append(compared(path, f"{number} {text!r}"))
    assert 0.4 < sum(read) / CASES < 0.98, "most scalars are read, and some are none"


def test_a_document_is_what_dvc_takes_it_for(tmp_path: Path) -> None:
    read = []
    for number in range(CASES):
        path = tmp_path / "params.yaml"
        path.write_bytes(document(random.Random(f"document/{number}")).encode())
        read.append(compared(path, f"{number} {path.read_bytes()!r}"))
    assert 0.1 < sum(read) / CASES < 0.9, "some documents are read, and some are none"


def test_a_spoilt_study_is_what_dvc_takes_it_for(tmp_path: Path) -> None:
    whole = [path.read_bytes() for path in sorted((ROOT / "studies").glob("*.yaml"))]
    read = []
    for name, data in mutations(whole, CASES, 3):
        path = tmp_path / "params.yaml"
        path.write_bytes(data)
        read.append(compared(path, name))
    assert 0.02 < sum(read) / CASES < 0.9, "some damage does none, and some is found"


def test_what_is_written_is_read_back_by_both(tmp_path: Path) -> None:
    for number in range(CASES):
        values = {"key": plain(random.Random(f"plain/{number}"))}
        path, name = tmp_path / "params.yaml", f"{number} {values!r}"
        with within_bounds(name):
            path.write_text(yaml_text(values), "utf-8")
            assert repr(read_yaml(path)) == repr(values), name
        assert repr(load_yaml(path)) == repr(values), name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: no\nb: 010\nc: 23:20", {"a": "no", "b": 10, "c": "23:20"}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", None),
    ],
)
def test_the_comparison_sees_a_difference(tmp_path: Path, text: str, expected: Any) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert compared(path, text) and (expected is None or parse_yaml(text, "x") == expected)
