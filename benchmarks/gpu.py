"""The paper's study scaled to half an hour of one GPU (studies/scaled.yaml), without DVC.

    python -m benchmarks.gpu --data data/benchmark --work W --minutes 25 --peak-tflops 989

prepares the data, trains dense and then tickets down to 3.5 % density, scores the dense one and the last of each arm,
and prints the results as tables for docs/results/gpu.md, also if it ends in an error. It stops by itself when the time
is over; called again with the same W, it goes on. `--steps` shortens every training, if
`mirl cost --measure --params studies/scaled.yaml` says that the time is too short.

`--quick` does the same in about a minute on a CPU, with a tiny network on few pictures: it shows that the script works,
its numbers mean nothing.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.restore import machine
from benchmarks.rounds import score_missing, train_missing
from mirl.config import Stopped
from mirl.study.params import Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.study.workspace import read_json
from mirl.yaml import read_yaml

STUDY = Path(__file__).parents[1] / "studies" / "scaled.yaml"
Sections = dict[str, dict[str, Any]]
QUICK: Sections = {
    "network": {
        "options": {
            "width": 8,
            "blocks": [1, 1, 1, 1],
            "refinement": 0,
            "prompt_channels": [8, 8, 16],
            "prompt_components": 2,
        }
    },
    "train": {"steps": 8, "warmup_steps": 2, "batches": {"batch": 5, "patch": 32}},
    "evaluate": {"protocols": ["paper"], "limit": 1, "pictures": 0},
    "machine": {"threads": 1},
}
PUBLISHED = {"denoise_15": 33.98, "denoise_25": 31.31, "denoise_50": 28.06, "derain": 36.37, "dehaze": 30.58}
"""PSNR in dB of PromptIR, all in one (arXiv 2306.13090, table 1): 200 epochs, the whole of SOTS and of the training sets."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the photographs, in MIR-L's layout")
    parser.add_argument("--work", type=Path, required=True, help="folder for tickets and scores")
    parser.add_argument("--steps", type=int, help="of a whole training; the same in every call with one W")
    parser.add_argument("--minutes", type=float, default=25.0, help="when to stop (default: %(default)s)")
    parser.add_argument("--peak-tflops", type=float, help="of the GPU in bfloat16, by its data sheet")
    parser.add_argument(
        "--quick", action="store_true", help="a tiny network, to see that the script works here"
    )
    given = parser.parse_args()
    deadline = time.monotonic() + 60 * given.minutes
    changes = QUICK if given.quick else {}
    if given.steps:
        fewer = {"steps": given.steps, "warmup_steps": given.steps // 20}
        changes = changes | {"train": changes.get("train", {}) | fewer}
    study = scaled(given.data, given.work, changes, deadline)
    where = f"{machine()}, {torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'}"
    try:
        if not study.files.prepared.exists():
            STAGES["prepare"](study, "")
        for key in study.params.rounds:
            train_missing(study, [key])
            if key in last_of_arms(study.params):
                score_missing(study, [key])
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 75
    finally:
        print(report(study, given.peak_tflops, where))
    return 0


def last_of_arms(params: Params) -> list[str]:
    """Return the last round of each arm, whose ticket counts: those before it are trained to rank the weights."""
    return list({item.arm: name for name, item in params.rounds.items()}.values())


def scaled(data: Path, work: Path, changes: Sections, deadline: float) -> Study:
    """Return the study on the photographs in `data`, which stops at `deadline`, in seconds of the monotonic clock."""
    values = read_yaml(STUDY) | {"machine": {"deterministic": False}}
    values["data"]["root"] = str(data.resolve())
    for section, changed in changes.items():
        values[section] |= changed
    work.mkdir(parents=True, exist_ok=True)
    return Study(
        root=work, params=Params.read(values, STUDY.name), should_stop=lambda: time.monotonic() > deadline
    )


def report(study: Study, peak_tflops: float | None, where: str) -> str:
    """Return the results so far as Markdown: quality beside the published figures, and speed."""
    quality = [
        "| ticket | density | of all | " + " | ".join(PUBLISHED) + " | mean |",
        "|---" * (len(PUBLISHED) + 4) + "|",
    ]
    speed = ["| ticket | steps | images/s | TFLOP/s | of the peak |", "|---" * 5 + "|"]
    for key in study.params.rounds:
        if study.files.ticket(key).exists():
            speed.append(speed_row(study, key, peak_tflops))
        if study.files.scores(key).exists():
            found = read_json(study.files.scores(key) / "metrics.json")
            dbs = [f"{found[f'psnr_db/{task}']:.2f}" for task in PUBLISHED]
            shares = [f"{found[f'density/{of}']:.2%}" for of in ("prunable", "all")]
            quality.append("| " + " | ".join([key, *shares, *dbs, f"{found['psnr_db/mean']:.2f}"]) + " |")
    mean = sum(PUBLISHED.values()) / len(PUBLISHED)
    published = " | ".join(f"{db:.2f}" for db in PUBLISHED.values())
    quality.append(f"| PromptIR, published | 100.00% | 100.00% | {published} | {mean:.2f} |")
    return "\n".join([where, "", *quality, "", *speed])


def speed_row(study: Study, key: str, peak_tflops: float | None) -> str:
    """Return a table row of steps, images a second and dense TFLOP/s; the time includes loading and checkpoints."""
    found = read_json(study.files.ticket(key) / "metrics.json")
    tflops = found["train_flops_dense"] / found["train_seconds"] / 1e12
    share = f"{tflops / peak_tflops:.1%}" if peak_tflops else ""
    return f"| {key} | {found['steps']:.0f} | {found['images_per_second']:.0f} | {tflops:.3g} | {share} |"


if __name__ == "__main__":
    sys.exit(main())
