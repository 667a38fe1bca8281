"""What DVC makes again after which change: dvc.yaml with params.yaml, on made-up outs, without any training."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DVC = Path(sys.executable).with_name("dvc")
pytestmark = pytest.mark.skipif(not DVC.exists(), reason="dvc is not installed: pip install '.[pipeline]'")


def _dvc(tree: Path, *arguments: str) -> str:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    done = subprocess.run([DVC, *arguments], cwd=tree, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the graph whose outs are made up and committed to DVC."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tree / name)
    for folder in (".dvc", "mirl", "flows", "data/demo"):
        ignore = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
        shutil.copytree(ROOT / folder, tree / folder, ignore=ignore)
    shutil.copy(ROOT / "studies" / "demo.yaml", tree / "params.yaml")
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    rounds = yaml.safe_load((tree / "params.yaml").read_text())["rounds"]
    _write(tree / "data/prepared/manifest.parquet")
    for name in ["init", *rounds]:
        for file in ("ticket.safetensors", "origin.safetensors", "metrics.json"):
            _write(tree / "tickets" / name / file)
    for name in rounds:
        for file in ("scores.parquet", "findings.json", "metrics.json", "pictures/a.png"):
            _write(tree / "scores" / name / file)
    for file in ("index.html", "comparison.csv", "comparison.parquet", "decision.json", "plots/global.csv"):
        _write(tree / "report" / file)
    _dvc(tree, "commit", "--force")
    return tree


@pytest.fixture
def tree(made: Path) -> Iterator[Path]:
    """`made`, put back afterwards."""
    before = {name: (made / name).read_bytes() for name in ("params.yaml", "dvc.lock")}
    yield made
    for name, content in before.items():
        (made / name).write_bytes(content)


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(str(path.name)))


def _change(tree: Path, **sections: dict[str, Any]) -> None:
    values = yaml.safe_load((tree / "params.yaml").read_text())
    for name, section in sections.items():
        values[name] |= section
    (tree / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def _stale(tree: Path) -> set[str]:
    """The stages that `dvc repro` would run first: those whose own parameters or files have changed."""
    return {name for name, changes in json.loads(_dvc(tree, "status", "--json")).items() if changes}


def _would_run(tree: Path) -> set[str]:
    """Every stage that `dvc repro` would run, following the graph."""
    return set(re.findall(r"Running stage '([^']+)'", _dvc(tree, "repro", "--dry")))


def test_nothing_is_stale_after_a_run(tree: Path) -> None:
    assert _stale(tree) == set()


def test_another_fraction_of_one_arm_retrains_that_arm_and_nothing_else(tree: Path) -> None:
    _change(tree, arms={"random": {"method": "random", "seed": 5}})
    assert _stale(tree) == {"round@random-r3", "compare"}
    _change(
        tree,
        arms={
            "global": {"method": "imp", "schedule": "authors", "scope": "global", "fraction": 0.3},
            "random": {"method": "random"},
        },
    )
    assert _stale(tree) == {"round@global-r1", "round@global-r2", "round@global-r3", "compare"}


def test_a_new_round_trains_one_round(tree: Path) -> None:
    _change(tree, rounds={"global-r4": {"arm": "global", "after": "global-r3"}})
    assert _stale(tree) == {"round@global-r4", "evaluate@global-r4", "compare"}


def test_how_tickets_are_scored_trains_nothing(tree: Path) -> None:
    _change(tree, evaluate={"protocols": ["paper"]})
    assert _stale(tree) == {
        f"evaluate@{name}"
        for name in ("dense", "global-r1", "global-r2", "global-r3", "random-r3", "longer-r1")
    } | {"compare"}


def test_what_decides_a_promotion_compares_again_only(tree: Path) -> None:
    _change(tree, promote={"tolerance_db": 0.2})
    assert _stale(tree) == {"compare"}


def test_the_seconds_of_a_parent_make_no_child_again(tree: Path) -> None:
    metrics = tree / "tickets" / "dense" / "metrics.json"
    before = metrics.read_text()
    metrics.unlink()  # a hard link into DVC's cache: never write through it
    metrics.write_text('{"train_seconds": 99}')
    try:
        assert not any(name.startswith(("round@global", "evaluate@")) for name in _stale(tree))
    finally:
        metrics.write_text(before)


def test_a_requirement_that_is_appended_trains_nothing_before_it(tree: Path) -> None:
    first = {"png": {"method": "png"}}
    rounds = {
        "grown": {"arm": "png", "after": "init", "task": "denoise_15"},
        "cut": {"arm": "png", "after": "grown", "task": "denoise_15"},
    }
    _change(tree, arms=first, rounds=rounds)
    assert _stale(tree) == {"round@grown", "round@cut", "evaluate@grown", "evaluate@cut", "compare"}
    for name in rounds:
        for file in ("ticket.safetensors", "origin.safetensors", "metrics.json"):
            _write(tree / "tickets" / name / file)
        for file in ("scores.parquet", "findings.json", "metrics.json", "pictures/a.png"):
            _write(tree / "scores" / name / file)
    _dvc(tree, "commit", "--force")
    try:
        assert _stale(tree) == set()
        _change(tree, rounds={"next": {"arm": "png", "after": "cut", "task": "denoise_25"}})
        assert _stale(tree) == {"round@next", "evaluate@next", "compare"}
        _change(tree, rounds={"cut": rounds["cut"] | {"task": "denoise_50"}})
        assert _stale(tree) == {"round@cut", "round@next", "evaluate@next", "compare"}
    finally:
        for name in rounds:
            shutil.rmtree(tree / "tickets" / name)
            shutil.rmtree(tree / "scores" / name)
