"""The command that DVC runs: exit codes, one sentence for what the user can mend, kills."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.own_network import NAME, write_network
from tests.training.processes import in_session

ROOT = Path(__file__).parents[2]
VALUES: dict[str, Any] = {
    "study": "tiny",
    "data": {
        "root": "photographs",
        "sources": {split: {"kind": "folder", "path": split, "split": split} for split in ("train", "test")},
    },
    "network": {
        "name": "nafnet",
        "options": {"width": 4, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 1},
    },
    "train": {
        "steps": 150,
        "record_every": 7,
        "batches": {"batch": 5, "patch": 16},
    },
    "arms": {"dense": {"method": "dense"}},
    "rounds": {"dense": {"arm": "dense", "after": "init"}},
    "evaluate": {},
    "promote": {},
    "machine": {"threads": 1, "checkpoint_seconds": 0.0},
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        (tmp_path / "photographs" / split).mkdir(parents=True)
        pixels = np.random.default_rng(len(split)).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photographs" / split / f"{split}.png")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(VALUES))
    return tmp_path


def _start(tree: Path, *arguments: str, group: bool = False) -> "subprocess.Popen[str]":
    # A tracking server that refuses at once: training must not mind, and MLflow's import stays out of the timing.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "flows.stage", *arguments]
    return subprocess.Popen(
        command, cwd=tree, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=group
    )


def _run(tree: Path, *arguments: str) -> tuple[int, str]:
    process = _start(tree, *arguments)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def _ticket_sha256(tree: Path) -> str:
    return hashlib.sha256((tree / "tickets/dense/ticket.safetensors").read_bytes()).hexdigest()


def _wait_for_checkpoint(tree: Path, process: "subprocess.Popen[str]") -> None:
    while not list(tree.glob(".mirl/resume/*/checkpoint.safetensors")):
        assert process.poll() is None, "the training ended before its first checkpoint"
        time.sleep(0.01)


def test_killed_three_times_at_random_moments_a_training_ends_in_the_same_bytes(tree: Path) -> None:
    assert _run(tree, "prepare")[0] == _run(tree, "init")[0] == 0
    assert _run(tree, "round", "dense")[0] == 0
    calm = _ticket_sha256(tree)
    (tree / "tickets/dense/ticket.safetensors").unlink()
    shutil.rmtree(tree / ".mirl/resume")
    moments = random.Random()
    for _ in range(3):
        process = _start(tree, "round", "dense")
        _wait_for_checkpoint(tree, process)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.communicate()
    assert not (tree / "tickets/dense/ticket.safetensors").exists()
    assert _run(tree, "round", "dense")[0] == 0
    assert _ticket_sha256(tree) == calm


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_exits_with_75(tree: Path, number: signal.Signals) -> None:
    assert _run(tree, "prepare")[0] == _run(tree, "init")[0] == 0
    process = _start(tree, "round", "dense")
    _wait_for_checkpoint(tree, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "run it again to go on" in said
    assert "Traceback" not in said
    assert not (tree / "tickets/dense").exists()


def test_a_signal_to_a_whole_group_stops_several_processes_at_the_same_step(tree: Path) -> None:
    """One of them alone can go on from there."""
    assert _run(tree, "prepare")[0] == _run(tree, "init")[0] == 0
    batches = {"batch": 6, "patch": 16}
    several = {"threads": 1, "checkpoint_seconds": 0.0, "processes": 2, "loaders": 1}
    values = VALUES | {"train": VALUES["train"] | {"batches": batches}, "machine": several}
    (tree / "params.yaml").write_text(yaml.safe_dump(values))
    process = _start(tree, "round", "dense", group=True)
    _wait_for_checkpoint(tree, process)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 75
    assert said.count("run it again to go on") == 1
    assert "Traceback" not in said and "leaked" not in said
    until = time.monotonic() + 10
    while in_session(process.pid):  # what multiprocessing keeps its books with goes last
        assert time.monotonic() < until, "a process outlives the stage"
        time.sleep(0.05)
    (tree / "params.yaml").write_text(yaml.safe_dump(values | {"machine": VALUES["machine"]}))
    assert _run(tree, "round", "dense")[0] == 0


@pytest.mark.parametrize(
    ("change", "stage", "sentence"),
    [
        ({"trian": {}}, ["prepare"], "did you mean `train`?"),
        ({"data": {"root": "nowhere", "sources": VALUES["data"]["sources"]}}, ["prepare"], "nowhere"),
        ({}, ["round", "dens"], "there is no round 'dens'"),
        ({}, ["evaluate", "dense"], "tickets/dense/ticket.safetensors"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_2(
    tree: Path, change: dict[str, Any], stage: list[str], sentence: str
) -> None:
    (tree / "params.yaml").write_text(yaml.safe_dump(VALUES | change))
    code, said = _run(tree, *stage)
    assert code == 2
    assert sentence in said
    assert "Traceback" not in said and said.count("error:") == 1
    assert not (tree / "data/prepared").exists() and not (tree / "tickets").exists()


def test_a_photograph_that_is_cut_off_is_named(tree: Path) -> None:
    path = tree / "photographs/train/train.png"
    path.write_bytes(path.read_bytes()[:500])
    code, said = _run(tree, "prepare")
    assert code == 2
    assert "train.png" in said and "Traceback" not in said
    assert not (tree / "data/prepared").exists()


@pytest.mark.parametrize(
    ("deps", "warned"),
    [([], True), (["mirl/networks"], True), (["mynets"], False), ([{"mynets/unet.py": {}}], False)],
)
def test_a_network_that_dvc_does_not_look_at_is_told(tree: Path, deps: list[Any], warned: bool) -> None:
    write_network(tree)
    values = VALUES | {"network": {"name": NAME}}
    (tree / "params.yaml").write_text(yaml.safe_dump(values))
    (tree / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"init": {"cmd": "x", "deps": deps}}}))
    code, said = _run(tree, "init")
    assert code == 0 and (tree / "tickets/init/ticket.safetensors").exists()
    assert ("DVC does not see changes of mynets/unet.py; name what" in said) == warned
