"""What is kept of a compilation is used again only while all sources are what they were."""

import shutil
import subprocess
import sys
from pathlib import Path

from mirl import runtime

ASK = """
import numpy
from mirl.runtime.planes import copy
numbers = numpy.arange(2, dtype=numpy.float32)
copy(numbers, 0, numbers, 1, 1)
print(sum(copy.stats.cache_hits.values()))
"""


def test_a_change_in_any_file_compiles_anew(tmp_path: Path) -> None:
    package = tmp_path / "mirl"
    shutil.copytree(Path(runtime.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))

    def hits() -> int:
        command = [sys.executable, "-c", ASK]
        return int(subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=True).stdout)

    assert [hits(), hits()] == [0, 1]
    other = package / "runtime" / "tiles.py"
    other.write_text(other.read_text() + "# another\n")
    assert [hits(), hits()] == [0, 1]
