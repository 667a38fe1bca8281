"""What `make same` calls the same, on two made-up sides."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks import same
from mirl.tickets.container import FileKind, save_sealed

KIND = FileKind(format="mirl-state", version=1)


def _side(folder: Path) -> Path:
    for place in ("data/prepared", "tickets/dense", "tickets/r1", "scores/r1", "report", "restored/dense"):
        (folder / place).mkdir(parents=True)
    (folder / "data/prepared/pixels.arrow").write_bytes(b"pixels")
    for number, name in enumerate(("dense", "r1")):
        _ticket(folder, name, step=number)
        os.utime(folder / f"tickets/{name}/ticket.safetensors", (number, number))
    metrics = {"density/prunable": 0.5, "train_seconds": 3.25, "images_per_second": 7, "train_joules": 1.0}
    (folder / "tickets/r1/metrics.json").write_text(json.dumps(metrics))
    table = pd.DataFrame({"image": ["a"], "psnr_db": [30.1], "seconds": [0.5]})
    table.to_parquet(folder / "scores/r1/scores.parquet", index=False)
    table.to_csv(folder / "report/comparison.csv", index=False)
    (folder / "report/decision.json").write_text('{"ticket": "r1"}')
    (folder / "report/index.html").write_text("0.5 s")
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / "restored/dense/a.png")
    return folder


def _ticket(folder: Path, name: str, step: int, **tensors: torch.Tensor) -> None:
    path = folder / "tickets" / name / "ticket.safetensors"
    save_sealed(path, KIND, {"step": step}, {"full.a": torch.ones(2), "full.b": torch.zeros(2)} | tensors)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    return _side(tmp_path / "base"), _side(tmp_path / "ours")


def test_two_sides_that_agree_are_the_same(sides: tuple[Path, Path]) -> None:
    assert list(same.compared(*sides)) == []


def test_what_is_timed_may_differ(sides: tuple[Path, Path]) -> None:
    ours = sides[1]
    (ours / "report/index.html").write_text("0.7 s")
    metrics = json.loads((ours / "tickets/r1/metrics.json").read_text())
    metrics |= {"train_seconds": 4.0, "images_per_second": 6.0, "train_joules": 2.0}
    (ours / "tickets/r1/metrics.json").write_text(json.dumps(metrics))
    table = pd.DataFrame({"image": ["a"], "psnr_db": [30.1], "seconds": [0.6]})
    table.to_parquet(ours / "scores/r1/scores.parquet", index=False)
    table.to_csv(ours / "report/comparison.csv", index=False)
    assert list(same.compared(*sides)) == []


def test_a_ticket_names_its_parts_that_differ(sides: tuple[Path, Path]) -> None:
    _ticket(sides[1], "r1", step=2, **{"full.b": torch.tensor([0.0, -0.0])})
    assert list(same.compared(*sides)) == ["tickets/r1/ticket.safetensors differs: full.b, header step"]


def _value(ours: Path) -> None:
    table = pd.DataFrame({"image": ["a"], "psnr_db": [30.100001], "seconds": [0.5]})
    table.to_csv(ours / "report/comparison.csv", index=False)


def _level(ours: Path) -> None:
    Image.fromarray(np.ones((2, 2, 3), np.uint8)).save(ours / "restored/dense/a.png")


def _metric(ours: Path) -> None:
    (ours / "tickets/r1/metrics.json").write_text('{"density/prunable": 0.50001}')


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_value, "report/comparison.csv differs"),
        (_level, "restored/dense/a.png differs"),
        (_metric, "tickets/r1/metrics.json differs"),
        (lambda ours: (ours / "scores/r1/scores.parquet").unlink(), "scores/r1/scores.parquet is missing here"),
        (lambda ours: shutil.copytree(ours / "tickets/r1", ours / "tickets/r2"), "tickets/r2/metrics.json is missing there"),
    ],
)  # fmt: skip
def test_every_kind_of_difference_is_seen(
    sides: tuple[Path, Path], change: Callable[[Path], object], line: str
) -> None:
    change(sides[1])
    assert line in list(same.compared(*sides))


def test_what_was_made_first_is_named_first(sides: tuple[Path, Path]) -> None:
    _level(sides[1])
    _ticket(sides[1], "r1", step=3)
    _ticket(sides[1], "dense", step=3)
    (sides[1] / "data/prepared/pixels.arrow").write_bytes(b"others")
    found = [line.partition(" ")[0] for line in same.compared(*sides)]
    assert found == [
        "data/prepared/pixels.arrow",
        "tickets/dense/ticket.safetensors",
        "tickets/r1/ticket.safetensors",
        "restored/dense/a.png",
    ]


def test_the_working_tree_is_taken_with_what_git_would_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same, "ROOT", tmp_path)
    same.git("init", "--quiet")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / ".gitignore").write_text("ignored\n")
    same.git("add", "--all")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, "commit", "--quiet", "-m", "one"], cwd=tmp_path, check=True)
    (tmp_path / "a.txt").write_text("two")
    (tmp_path / "new.txt").write_text("new")
    (tmp_path / "ignored").write_text("not there")
    commit = same.working_tree()
    assert same.git("ls-tree", "--name-only", commit).split() == [".gitignore", "a.txt", "new.txt"]
    assert same.git("show", f"{commit}:a.txt") == "two"
    assert same.git("status", "--short").split() == ["M", "a.txt", "??", "new.txt"]


def test_an_unknown_commit_is_an_error_and_not_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    assert same.main(["no-such-commit"]) == 2
    assert "ended with" in capfd.readouterr().err
