"""What a registry holds is asked of its entries: outside of its package nobody knows one by its name."""

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from mirl.data.tasks import DEFAULT, KINDS
from mirl.methods import METHODS
from mirl.networks import NETWORKS

ROOT = Path(__file__).parents[1]

REGISTRIES: dict[str, Collection[str]] = {
    "mirl/data": {*KINDS, *DEFAULT},
    "mirl/methods": METHODS,
    "mirl/networks": NETWORKS,
}
"""Package -> the keys of its registries, which no code outside of it may name."""

OTHER_MEANINGS = {
    ("mirl/command/main.py", "jpeg"): "a file format of --format",
    ("mirl/command/main.py", "png"): "a file format of --format",
    ("mirl/data/rain.py", "dense"): "a kind of rain",
    ("mirl/evaluation/cards.py", "dense"): "the place in the page's pictures that the reference's has",
    ("mirl/evaluation/routing.py", "random"): "levels of patches that chance hands out",
    (
        "mirl/evaluation/winning.py",
        "dense",
    ): "the default of `promote.reference`, which is the name of a round",
}
"""(file, word) -> what it means there."""


def strings(code: str) -> Iterator[str]:
    """Every string constant of some code but its docstrings; those within f-strings count."""
    tree = ast.parse(code)
    said = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def test_no_key_of_a_registry_stands_outside_of_its_package() -> None:
    found = set()
    for path in [*(ROOT / "mirl").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        place, words = path.relative_to(ROOT).as_posix(), set(strings(path.read_text()))
        for package, keys in REGISTRIES.items():
            if not place.startswith(f"{package}/"):
                found |= {(place, word) for word in words & set(keys)}
    assert found == set(OTHER_MEANINGS), (
        "ask the registry's entry for what depends on it; if the word means something else there, say what in "
        "OTHER_MEANINGS, or give your entry another name"
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("if arm.method == 'imp': pass", ["imp"]),
        ("match method:\n    case 'dense': pass", ["dense"]),
        ("f'{x}derain'", ["derain"]),
        ("METHODS['random']", ["random"]),
        ("said = 'a dense arm'", ["a dense arm"]),
        ('"""derain"""\nclass A:\n    """derain"""\n    x: int\n    """derain"""\n', []),
        ("imp = 3", []),
    ],
)
def test_the_walk_finds_them(code: str, expected: list[str]) -> None:
    assert list(strings(code)) == expected
