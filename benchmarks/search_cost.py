"""What a search for a ticket of 10 % density costs, by the authors' schedule and by each way to shorten it.

    python -m benchmarks.search_cost train --prepared data/prepared --work W --seed 1
    python -m benchmarks.search_cost write --work W

trains and scores every arm of studies/search.yaml for one seed of network and samples (killed and begun again, it goes
on; several seeds may run beside each other); then sets all seeds side by side in docs/results/search-cost.md.
"""

import argparse
import sys
from pathlib import Path

from mirl.config import read_yaml
from mirl.study.params import Params
from mirl.study.stages import STAGES, Study

STUDY = Path(__file__).parents[1] / "studies" / "search.yaml"
LATE_STEP = 125
"""The late origin, 5 % of the schedule (1903.01611 finds 0.1 to 7 %)."""
ORIGINS = {"origin-0": 0, "late": LATE_STEP}
"""Folder of a seed -> rewind step."""
ARMS = {
    "origin-0": ("brief-replayed", "brief", "authors", "slowing", "short", "settled", "replayed"),
    "late": ("authors", "brief"),
}
"""What is trained with each origin, in this order."""


def params_of(seed: int, rewind_step: int, threads: int) -> Params:
    """The study for one seed of the network and of the samples."""
    values = read_yaml(STUDY)
    values["train"] |= {"seed": seed, "rewind_step": rewind_step}
    values["network"]["seed"] = seed
    values["machine"] = {"threads": threads}
    return Params.read(values, STUDY.name)


def train(prepared: Path, work: Path, seed: int, threads: int) -> None:
    """Every round of every arm that is not there yet, and the scores of the last round of each, and of `authors`."""
    for origin, arms in ARMS.items():
        root = work / f"seed-{seed}" / origin
        (root / "data").mkdir(parents=True, exist_ok=True)
        if not (root / "data" / "prepared").exists():
            (root / "data" / "prepared").symlink_to(prepared.resolve(), target_is_directory=True)
        study = Study(root=root, params=params_of(seed, ORIGINS[origin], threads))
        if not study.files.ticket("init").exists():
            STAGES["init"](study, "")
        for arm in ("dense", *arms):
            rounds = [key for key, item in study.params.rounds.items() if item.arm == arm]
            for key in rounds:
                if not study.files.ticket(key).exists():
                    STAGES["round"](study, key)
                scored = key == rounds[-1] or (arm == "authors" and origin == "origin-0")
                if scored and not study.files.scores(key).exists():
                    STAGES["evaluate"](study, key)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["train"])
    parser.add_argument("--prepared", type=Path, help="data/prepared of the bench study")
    parser.add_argument("--work", type=Path, required=True, help="folder for tickets and scores")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    train(given.prepared, given.work, given.seed, given.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
