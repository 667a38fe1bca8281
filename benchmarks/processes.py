"""Distance of several processes, and of batches in pieces, from one process with whole ones: docs/results/processes.md.

    python -m benchmarks.processes --work W --steps 300

trains the dense network of studies/demo.yaml in one process and in other ways, and prints how far the ends lie apart.
"""

import argparse
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.restore import machine
from mirl.study.params import ROOT_TICKET, Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.study.workspace import read_json
from mirl.tickets.reading import read
from mirl.yaml import read_yaml

STUDY = Path(__file__).parents[1] / "studies" / "demo.yaml"
ALONE = "one process"
WAYS: dict[str, dict[str, Any]] = {
    ALONE: {},
    "one process, again": {},
    "one process of 2 threads": {"threads": 2},
    "its batches drawn by 2 loaders": {"loaders": 2},
    "pieces of 2 images": {"micro_batch": 2},
    "2 processes": {"processes": 2},
    "2 processes, again": {"processes": 2},
    "4 processes": {"processes": 4},
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for data and tickets")
    parser.add_argument("--steps", type=int, default=300, help="of each training (default: %(default)s)")
    given = parser.parse_args()
    print(f"{machine()}, {given.steps} steps of {STUDY.name}\n")
    print("| way | sha256 of the weights | distance, of the way trained | losses apart by | ms a step |")
    print("|---" * 5 + "|")
    first: tuple[Tensor, Tensor] | None = None
    for way, told in WAYS.items():
        start, end, losses, seconds = trained(given.work, given.steps, told)
        first = first or (end, losses)
        apart = float((end - first[0]).norm() / (first[0] - start).norm())
        curve = float(((losses - first[1]) / first[1]).abs().max())
        named = hashlib.sha256(end.numpy().tobytes()).hexdigest()[:8]
        ms = 1000 * seconds / given.steps
        print(f"| {way} | {named} | {apart:.2%} | {curve:.1e} | {ms:.0f} |", flush=True)
    return 0


def trained(work: Path, steps: int, told: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, float]:
    """Train with the machine settings `told`; return all weights before and after, the losses, and the seconds."""
    values = read_yaml(STUDY)
    values["data"]["root"] = str(STUDY.parents[1] / values["data"]["root"])
    values["train"] |= {"steps": steps, "warmup_steps": steps // 10, "rewind_step": 0, "record_every": 10}
    values["machine"] = {"device": "cpu", "threads": 1} | told
    work.mkdir(parents=True, exist_ok=True)
    study = Study(root=work, params=Params.read(values, STUDY.name))
    files = study.files
    for stage, made in (("prepare", files.prepared), ("init", files.ticket(ROOT_TICKET))):
        if not made.exists():
            STAGES[stage](study, "")
    for folder in (files.ticket("dense"), work / ".mirl"):
        shutil.rmtree(folder, ignore_errors=True)
    STAGES["round"](study, "dense")
    found, states = read_json(files.ticket("dense") / "metrics.json"), []
    for name in (ROOT_TICKET, "dense"):
        state = read(files.ticket(name) / "ticket.safetensors").state
        states.append(torch.cat([state[key].double().flatten() for key in sorted(state)]))
    losses = pd.read_parquet(files.ticket("dense") / "history.parquet")["loss"].to_numpy()
    return states[0], states[1], torch.from_numpy(losses), found["train_seconds"]


if __name__ == "__main__":
    sys.exit(main())
