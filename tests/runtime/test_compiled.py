"""What is kept of a compilation is used again only while all sources are what they were."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mirl import runtime

ASK = """
import numpy
from mirl.runtime.transfers import copy
numbers = numpy.arange(2, dtype=numpy.float32)
copy(numbers, 0, numbers, 1, 1)
print(sum(copy.stats.cache_hits.values()))
"""


def hits(folder: Path, cache: Path) -> int:
    """How much of a compilation was kept, in a new process that finds the sources in `folder`."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(folder)}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", ASK]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True, env=environment)
    return int(done.stdout)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    shutil.copytree(Path(runtime.__file__).parents[1], tmp_path / "one" / "mirl")
    return tmp_path / "one"


def test_a_change_in_any_file_compiles_anew(sources: Path, tmp_path: Path) -> None:
    assert [hits(sources, tmp_path), hits(sources, tmp_path)] == [0, 1]
    other = sources / "mirl" / "runtime" / "tiles.py"
    other.write_text(other.read_text() + "# another\n")
    assert [hits(sources, tmp_path), hits(sources, tmp_path)] == [0, 1]


def test_a_copy_of_the_sources_uses_what_is_kept(sources: Path, tmp_path: Path) -> None:
    assert hits(sources, tmp_path) == 0
    shutil.copytree(sources, tmp_path / "two")
    assert hits(tmp_path / "two", tmp_path) == 1


def test_without_a_place_to_write_it_is_compiled_each_time(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [hits(sources, tmp_path / "file"), hits(sources, tmp_path / "file")] == [0, 0]
