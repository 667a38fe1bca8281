"""Demonstration that a training killed three times at random moments ends in a ticket of the same bytes.

Two copies of the working tree get the same small study. In one `dvc repro` runs undisturbed; in the other it is
killed (SIGKILL, with everything it started) three times at random moments of a training and started again. The sha256
of every ticket of both is printed; the exit code is 1 if two differ.

    python benchmarks/kill_and_resume.py [--kills 3] [--seed N] [--steps 400]
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mirl.yaml import read_yaml, yaml_text

TARGETS = ["round@dense", "round@global-r1"]
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument(
        "--seed", type=int, default=None, help="of the random moments; default: another one each time"
    )
    parser.add_argument("--steps", type=int, default=400, help="optimiser steps of each training")
    wanted = parser.parse_args()
    seed = wanted.seed if wanted.seed is not None else random.SystemRandom().randrange(10**6)
    with tempfile.TemporaryDirectory() as folder:
        calm, killed = (_copy(Path(folder) / name, wanted.steps) for name in ("calm", "killed"))
        seconds = _run(calm)
        print(f"undisturbed: {seconds:.0f} s; seed of the kills: {seed}", flush=True)
        _run_killed(killed, wanted.kills, seconds, random.Random(seed))
        same = True
        for name in ("dense", "global-r1"):
            ours, theirs = (
                _sha256(tree / "tickets" / name / "ticket.safetensors") for tree in (calm, killed)
            )
            same &= ours == theirs
            print(
                f"{name}: undisturbed {ours[:16]}  killed {theirs[:16]}  {'same' if ours == theirs else 'DIFFERENT'}"
            )
    return 0 if same else 1


def _copy(tree: Path, steps: int) -> Path:
    """Copy the working tree to `tree`, with a study of two short trainings, and return `tree`."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in names.stdout.splitlines():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    params = read_yaml(tree / "studies" / "demo.yaml")
    params["train"] |= {
        "steps": steps,
        "warmup_steps": steps // 10,
        "rewind_step": steps // 20,
    }
    params["train"]["record_every"] = 20
    params["machine"] = {"checkpoint_seconds": 1.0}
    (tree / "params.yaml").write_text(yaml_text(params))
    return tree


def _start(tree: Path) -> "subprocess.Popen[bytes]":
    with (tree / "log").open("ab") as log:
        command = ["dvc", "repro", *TARGETS]
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{tree}/mlflow.db",
            "PYTHONPATH": str(tree),
        }
        return subprocess.Popen(
            command, cwd=tree, stdout=log, stderr=log, start_new_session=True, env=environment
        )


def _run(tree: Path) -> float:
    started = time.monotonic()
    if _start(tree).wait() != 0:
        sys.exit(f"dvc repro failed:\n{(tree / 'log').read_text()[-2000:]}")
    return time.monotonic() - started


def _run_killed(tree: Path, kills: int, seconds: float, moments: random.Random) -> None:
    for number in range(1, kills + 1):
        begun = time.time()
        process = _start(tree)
        if not _wait_for_training(tree, process, begun):
            sys.exit(f"the study was done before kill {number}; take more --steps")
        time.sleep(moments.uniform(0, seconds / 4 / kills))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"killed {number} of {kills}", flush=True)
    _run(tree)


def _wait_for_training(tree: Path, process: "subprocess.Popen[bytes]", begun: float) -> bool:
    """Wait until a training that goes on now has saved a checkpoint; return False if the study ended before."""
    while process.poll() is None:
        saved = [path.stat().st_mtime for path in tree.glob(".mirl/resume/*/checkpoint.safetensors")]
        if saved and max(saved) > begun:
            return True
        time.sleep(0.05)
    return False


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
