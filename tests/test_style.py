"""How long files and functions are, and that nothing names the machine it was written on."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ["mirl", "flows", "benchmarks", "tests"]
FILE_WISH, FILE_MOST = 150, 300
FUNCTION_WISH, FUNCTION_MOST = 40, 60
PARAMETERS_MOST = 6


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def functions(code: str) -> Iterator[tuple[str, int, int]]:
    """(name, lines, parameters without self) of every function, also inside of others."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            names = [
                p.arg
                for p in [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
                if p
            ]
            assert node.end_lineno is not None
            yield (
                node.name,
                node.end_lineno - node.lineno + 1,
                len(names) - (names[:1] in (["self"], ["cls"])),
            )


def too_much(code: str, place: str) -> tuple[list[str], list[str]]:
    """(what is over the wish, what is over the limit) in one file."""
    over: tuple[list[str], list[str]] = ([], [])
    lines = len(code.splitlines())
    if lines > FILE_WISH:
        over[lines > FILE_MOST].append(f"{place}: {lines} lines")
    for name, length, parameters in functions(code):
        if length > FUNCTION_WISH:
            over[length > FUNCTION_MOST].append(f"{place}: {name} has {length} lines")
        if parameters > PARAMETERS_MOST:
            over[1].append(f"{place}: {name} takes {parameters} parameters")
    return over


def test_files_and_functions_are_short(capsys: pytest.CaptureFixture[str]) -> None:
    wished: list[str] = []
    forbidden: list[str] = []
    for path in sources():
        place = path.relative_to(ROOT).as_posix()
        over = too_much(path.read_text(), place)
        wished += over[0]
        forbidden += over[1]
    with capsys.disabled():
        print("", *(f"long: {sentence}" for sentence in wished), sep="\n")
    assert forbidden == []


def test_the_limits_are_noticed() -> None:
    def function(lines: int, parameters: str = "") -> str:
        return f"def f({parameters}):\n" + "    pass\n" * (lines - 1)

    assert too_much("\n" * 150 + "", "x") == ([], [])
    assert too_much("\n" * 151, "x") == (["x: 151 lines"], [])
    assert too_much("\n" * 301, "x") == ([], ["x: 301 lines"])
    assert too_much(function(40), "x") == ([], [])
    assert too_much(function(41), "x") == (["x: f has 41 lines"], [])
    assert too_much(function(61), "x") == ([], ["x: f has 61 lines"])
    assert too_much(function(2, "self, a, b, c, *, d, e, f"), "x") == ([], [])
    assert too_much(function(2, "a, b, /, c, *d, e, f, **g"), "x") == ([], ["x: f takes 7 parameters"])


def machine_paths() -> list[str]:
    """Folders of this machine that nobody else has; places that every machine has do not count."""
    everywhere = {"/", "/tmp", "/home", "/usr", "/var", "/opt", "/srv", "/mnt"}
    return sorted({str(Path.home()), str(ROOT), str(ROOT.parent)} - everywhere)


def named(text: str, folder: str) -> bool:
    """Whether `text` names something in `folder`: not as the end of a longer path, nor as a word that begins so."""
    return bool(re.search(rf"(?<![\w.~}})/-]){re.escape(folder)}/\w", text))


def tracked_files() -> list[Path]:
    """What git tracks, or would: so that a file is looked at before it is committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_nothing_names_a_path_of_this_machine() -> None:
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" not in content:  # text
            found += [(path.name, f) for f in machine_paths() if named(content.decode(errors="replace"), f)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("open('/somebody/main/x.png')", True),
        ("see file:/somebody/data", True),
        ("https://example.org/somebody/main", False),
        ("$HOME/somebody/main and {root}/somebody/main", False),
        ("/somebody's", False),
    ],
)
def test_paths_are_noticed(text: str, expected: bool) -> None:
    assert named(text, "/somebody") == expected
