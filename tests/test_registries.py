"""What stands in a registry is named there alone: code elsewhere asks the entry, not its name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirl.data.tasks import DEFAULT, KINDS

ROOT = Path(__file__).parents[1]
REGISTRIES = {"mirl/data": {*KINDS, *DEFAULT}}
"""Package -> the keys of its registries, which no code outside of it may name."""
OTHER_MEANINGS = {("mirl/command/main.py", "jpeg"): "a file format of --format"}
"""(file, word) -> what it means there."""


def strings(code: str) -> Iterator[str]:
    """Every string constant of some code but its docstrings."""
    tree = ast.parse(code)
    said = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


@pytest.mark.parametrize("package", REGISTRIES)
def test_no_key_of_a_registry_stands_outside_of_its_package(package: str) -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), word)
        for folder in ("mirl", "flows")
        for path in (ROOT / folder).rglob("*.py")
        if not path.is_relative_to(ROOT / package)
        for word in strings(path.read_text())
        if word in REGISTRIES[package]
    }
    assert found == set(OTHER_MEANINGS)


def test_the_walk_finds_them() -> None:
    code = '"""derain"""\nclass A:\n    """derain"""\n    x: int\n    """derain"""\n'
    assert list(strings(code)) == []
    assert list(strings('if task == "derain":\n    pass')) == ["derain"]
    assert "derain" in list(strings('f"{x}derain"'))
