"""A strict run fails when a test is skipped that is not on the list."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import LIST, Skip, allowed, refused

ROOT = Path(__file__).parents[1]
HOOKS = "from tests.skips import *\n"
PASSES = "def test_passes():\n    pass\n"
SKIPPED = "import pytest\n\n@pytest.mark.skip(reason='no reason')\ndef test_skipped():\n    pass\n\n" + PASSES
MODULE = "import pytest\n\npytest.importorskip('no_such_module', reason='no reason')\n"
EXPECTED = (
    "import pytest\n\n@pytest.mark.xfail(reason='no reason')\ndef test_fails():\n    raise ValueError\n\n"
    + PASSES
)


def run(folder: Path, code: str, strict: bool, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """pytest over one file of a project of its own that takes in the hooks."""
    (folder / "conftest.py").write_text(HOOKS)
    (folder / "test_one.py").write_text(code)
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\naddopts = -p no:cacheprovider\n")
    known = {name: value for name, value in os.environ.items() if name != "MIRL_SKIPS"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=folder, capture_output=True, text=True,
        env=known | ({"MIRL_SKIPS": "strict"} if strict else {}),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "workers", "expected"),
    [(PASSES, "0", 0), (SKIPPED, "0", 1), (SKIPPED, "1", 1), (EXPECTED, "0", 0)],
)
def test_a_skip_fails_a_strict_run(tmp_path: Path, code: str, workers: str, expected: int) -> None:
    done = run(tmp_path, code, True, "-n", workers)
    assert done.returncode == expected, done.stdout
    assert ("test_one.py::test_skipped: no reason" in done.stdout) == bool(expected), done.stdout


def test_a_skipped_module_fails_a_strict_run(tmp_path: Path) -> None:
    done = run(tmp_path, MODULE, True)
    assert done.returncode and "test_one.py: no reason" in done.stdout, done.stdout


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    assert run(tmp_path, SKIPPED, False).returncode == 0


def test_the_list_is_short_and_names_files() -> None:
    entries = allowed(LIST.read_text())
    assert 0 < len(entries) <= 10
    marks = (ROOT / "tests" / "pack.py").read_text()  # which several files use
    texts = {entry: (ROOT / entry.file).read_text() for entry in entries}
    used = {entry: text + marks if "needs_pack" in text else text for entry, text in texts.items()}
    assert [entry.file for entry, text in used.items() if entry.reason not in text] == []


def test_another_reason_or_file_is_refused() -> None:
    accepted = allowed("# file | reason | why\ntests/a.py | no disk | machines differ\n")
    skips = {"tests/a.py::x": Skip("tests/a.py", "no disk"), "tests/b.py::y": Skip("tests/b.py", "no disk")}
    skips["tests/a.py::z"] = Skip("tests/a.py", "no time")
    assert refused(skips, accepted) == ["tests/a.py::z: no time", "tests/b.py::y: no disk"]
    with pytest.raises(AssertionError, match="FILE"):
        allowed("tests/a.py | no disk\n")
