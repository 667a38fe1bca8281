import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import checkout

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures of chance in the authors' layout."""
    chance, root = np.random.default_rng(0), tmp_path / "data"
    places = ["train/denoise/S/a", "train/denoise/S/b", "test/denoise/T/c"]
    for task, ending in (("derain", "rainy"), ("dehaze", "hazy")):
        places += [f"train/{task}/S/input/d_{ending}", f"train/{task}/S/target/d_gt"]
    for place in places:
        path = root / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(chance.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    return root


def _run(tmp_path: Path, reference: str, *options: str) -> str:
    results = tmp_path / "results.md"
    command = [sys.executable, "-m", "benchmarks.training", "--quick", "--repeats", "2", "--threads", "1"]
    environment = os.environ | {"MIRL_REFERENCE": reference, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--write", str(results), *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in results.read_text()
    return results.read_text()


def _rows(text: str, title: str) -> dict[str, list[str]]:
    """Cells of the tables below `title`, by the first of each row."""
    part = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"
    ]
    return {row[0]: row[1:] for row in cells if not row[0].startswith("---")}


def test_both_are_measured_side_by_side(tmp_path: Path, data: Path) -> None:
    checkout.write(tmp_path / "checkout")
    text = _run(tmp_path, str(tmp_path / "checkout"), "--data", str(data))
    contenders = ["MIR-L, float32", "MIR-L, bfloat16", "mirl, float32", "mirl, bfloat16"]
    for title in ("Training step", "Memory"):
        rows = _rows(text, title)
        assert list(rows)[1:] == contenders
        assert all(float(row[0]) > 0 for row in list(rows.values())[1:])
    assert list(_rows(text, "Loader"))[1:] == [
        "MIR-L",
        "mirl, pairs from files",
        "mirl, rain made on the fly",
    ]
    pruned = _rows(text, "Prune and rewind")
    assert {"MIR-L", "mirl"} < set(pruned) and float(pruned["MIR-L"][3]) == 1.0
    # The stand-in for the authors' network has four small layers.
    assert float(pruned["mirl"][3]) < 1 and float(_rows(text, "Memory")["mirl, float32"][1]) > 1


def test_ours_is_measured_where_there_is_no_checkout(tmp_path: Path) -> None:
    text = _run(tmp_path, "", "--only", "steps")
    assert "MIR-L," not in text and list(_rows(text, "Training step"))[1:] == [
        "mirl, float32",
        "mirl, bfloat16",
    ]
