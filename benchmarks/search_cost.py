"""Cost of a search for a ticket of 10 % density, by the authors' schedule and by each way to shorten it.

    python -m benchmarks.search_cost train --prepared data/prepared --work W --seed 1
    python -m benchmarks.search_cost compare --work W --curve docs/results/search-cost.svg

`train` trains every arm of studies/search.yaml for one seed of network and samples, and scores the last ticket of each
(killed and begun again, it goes on; several seeds may run beside each other); `--only origin-0/lamp late/authors`
trains these arms alone. `compare` sets the results so far side by side, as the tables of docs/results/search-cost.md,
and draws cost against quality.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import t as student

from benchmarks.rounds import score_missing, train_missing
from mirl.evaluation.winning import Difference, RuleSection, difference
from mirl.networks import build
from mirl.sparsity.accounting import macs, training_flops
from mirl.study.params import ROOT_TICKET, Params
from mirl.study.study import Study
from mirl.study.workspace import read_json
from mirl.tickets.reading import read
from mirl.yaml import read_yaml

STUDY = Path(__file__).parents[1] / "studies" / "search.yaml"
LATE_STEP = 125
"""The late origin, 5 % of the schedule (1903.01611 finds 0.1 to 7 %)."""
ORIGINS = {"origin-0": 0, "late": LATE_STEP}
"""Folder of a seed -> rewind step."""
ARMS = {
    "origin-0": (
        "brief-replayed", "brief", "brief-lamp-replayed", "brief-lamp", "longer", "authors", "slowing", "short", "settled",
        "replayed", "lamp",
    ),
    "late": ("brief-lamp", "authors"),
}  # fmt: skip
"""Arms that are trained with each origin, in this order."""
EVERY = [f"{origin}/{arm}" for origin, arms in ARMS.items() for arm in arms]
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Search:
    """One arm's search with one seed, from the untrained network to its last ticket."""

    seed: int
    name: str
    rounds: int
    density: float
    steps: int
    """Optimiser steps of all trainings, the dense one among them."""
    dense_flops: float
    """FLOP of all trainings, as if every weight were there (`training_flops` says how they are counted)."""
    kept_flops: float
    """FLOP of all trainings, for the weights that the masks leave."""
    psnr_db: float
    """Mean PSNR over the tasks."""
    scores: pd.DataFrame


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["train", "compare"])
    parser.add_argument("--prepared", type=Path, help="data/prepared of the study `bench`")
    parser.add_argument("--work", type=Path, required=True, help="folder of the tickets and scores")
    parser.add_argument("--seed", type=int, default=1, help="of the network and the samples")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=EVERY,
        metavar="ARM",
        help=f"of {', '.join(EVERY)}; with the dense network of that origin",
    )
    parser.add_argument("--curve", type=Path, metavar="SVG", help="where to draw cost against quality")
    given = parser.parse_args()
    if given.what == "compare":
        if given.only:
            parser.error("--only is for train; compare takes what is there")
        compare(given.work, given.curve)
    elif given.prepared is None:
        parser.error("train needs --prepared: run `mirl study bench` and `dvc repro prepare`")
    else:
        train(given.prepared, given.work, given.seed, given.threads, given.only or EVERY)
    return 0


def train(prepared: Path, work: Path, seed: int, threads: int, only: Sequence[str]) -> None:
    """Train every round of the arms `only` that is not there yet, and score the last round of each arm."""
    for origin, arms in ARMS.items():
        wanted = [arm for arm in arms if f"{origin}/{arm}" in only]
        if not wanted:
            continue
        root = work / f"seed-{seed}" / origin
        (root / "data").mkdir(parents=True, exist_ok=True)
        if not (root / "data" / "prepared").exists():
            (root / "data" / "prepared").symlink_to(prepared.resolve(), target_is_directory=True)
        study = Study(root=root, params=params_of(seed, origin, threads))
        for arm in ("dense", *wanted):
            rounds = rounds_of(study.params, arm)
            train_missing(study, rounds)
            score_missing(study, rounds[-1:])


def params_of(seed: int, origin: str, threads: int = 1) -> Params:
    """Return the parameters of the study for one seed of the network and of the samples, and one origin."""
    values = read_yaml(STUDY)
    values["train"] |= {"seed": seed, "rewind_step": ORIGINS[origin]}
    values["network"]["seed"] = seed
    values["machine"] = {"threads": threads}
    return Params.read(values, STUDY.name)


def rounds_of(params: Params, arm: str) -> list[str]:
    return [key for key, item in params.rounds.items() if item.arm == arm]


def searches(work: Path) -> Iterator[Search]:
    """Yield all searches that are complete."""
    for folder in sorted(work.glob("seed-*")):
        seed = int(folder.name.removeprefix("seed-"))
        for origin, arms in ARMS.items():
            study = Study(root=folder / origin, params=params_of(seed, origin))
            for arm in ("dense", *arms) if origin == "origin-0" else arms:
                name = arm if origin == "origin-0" else f"{arm}, origin {ORIGINS[origin]}"
                last = rounds_of(study.params, arm)[-1]
                if (study.files.scores(last) / "scores.parquet").exists():
                    yield search(study, seed, name, last)


def search(study: Study, seed: int, name: str, last: str) -> Search:
    """Add up what the trainings that led to the ticket `last` cost, in steps and FLOP."""
    batches, chain = study.params.train.batches, []
    while last != ROOT_TICKET:
        chain.append(last)
        last = study.params.round(last).after
    steps, dense, kept = 0, 0.0, 0.0
    for key in chain:
        ticket = read(study.files.ticket(key) / "ticket.safetensors")
        network = build(ticket.network)
        work = macs(network, ticket.mask, batches.patch, batches.patch)
        flops = training_flops(work, ticket.lineage.steps * batches.batch)
        steps, dense, kept = steps + ticket.lineage.steps, dense + flops.dense, kept + flops.kept
    folder = study.files.scores(chain[0])
    found = read_json(folder / "metrics.json")
    return Search(
        seed=seed, name=name, rounds=len(chain), density=found["density/prunable"], steps=steps, dense_flops=dense,
        kept_flops=kept, psnr_db=found["psnr_db/mean"], scores=pd.read_parquet(folder / "scores.parquet"),
    )  # fmt: skip


def compare(work: Path, curve: Path | None) -> None:
    """Print a row for every search that is there for at least one seed, beside the authors' with the same seeds."""
    found = list(searches(work))
    names = list(dict.fromkeys(one.name for one in found))
    by_name = {name: {one.seed: one for one in found if one.name == name} for name in names}
    rows = [{"search": name} | row(seeds, by_name.get("authors", {})) for name, seeds in by_name.items()]
    table = pd.DataFrame(rows).fillna("")
    for cells in (table.columns, ["---"] * len(table.columns), *table.to_numpy()):
        print("| " + " | ".join(cells) + " |")
    if curve:
        draw(by_name, curve)


def row(seeds: dict[int, Search], authors: dict[int, Search]) -> dict[str, str]:
    """Return the means over the seeds, and the differences to the authors' search with the same seeds, if any."""
    found = pd.DataFrame([vars(one) for one in seeds.values()])
    mean = found.drop(columns=["name", "scores"]).mean()
    cells = {
        "seeds": ", ".join(map(str, sorted(seeds))),
        "rounds": f"{mean['rounds']:.0f}",
        "density": f"{mean['density']:.1%}",
        "steps": f"{mean['steps']:,.0f}",
        "TFLOP": f"{mean['dense_flops'] / 1e12:,.0f}",
        "TFLOP left by the masks": f"{mean['kept_flops'] / 1e12:,.0f}",
        "PSNR dB": f"{mean['psnr_db']:.2f}",
    }
    both = sorted(seeds.keys() & authors.keys())
    if not both:
        return cells
    ours, theirs = [seeds[seed] for seed in both], [authors[seed] for seed in both]
    gains = [one.psnr_db - other.psnr_db for one, other in zip(ours, theirs)]
    images = over_images(ours, theirs).mean
    return cells | {
        "of the authors' steps": f"{sum(one.steps for one in ours) / sum(one.steps for one in theirs):.2f}",
        "to the authors', dB": f"{np.mean(gains):+.2f}",
        "each seed": ", ".join(f"{gain:+.2f}" for gain in gains),
        "95 % over images": f"{images.low_db:+.2f} .. {images.high_db:+.2f}",
        "95 % over seeds": over_seeds(gains),
    }


def over_images(ours: list[Search], theirs: list[Search]) -> Difference:
    """Return the paired bootstrap over the images, of each image's mean over the seeds."""
    tables: list[Any] = [
        pd.concat([one.scores for one in group])
        .groupby(["task", "image", "protocol"], as_index=False)["psnr_db"]
        .mean()
        for group in (ours, theirs)
    ]
    return difference(tables[0], tables[1], RuleSection(confidence=CONFIDENCE))


def over_seeds(gains: list[float]) -> str:
    """Return Student's interval of the mean over seeds, in dB: what another seed would do; wide with few seeds."""
    if len(gains) < 2:
        return ""
    reach = student.ppf((1 + CONFIDENCE) / 2, len(gains) - 1) * np.std(gains, ddof=1) / np.sqrt(len(gains))
    return f"{np.mean(gains) - reach:+.2f} .. {np.mean(gains) + reach:+.2f}"


def draw(by_name: dict[str, dict[int, Search]], path: Path) -> None:
    """Draw every search as a point for each seed: optimiser steps against the mean PSNR in dB of its ticket."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, seeds in by_name.items():
        steps = [one.steps for one in seeds.values()]
        (drawn,) = axes.plot(steps, [one.psnr_db for one in seeds.values()], "o", label=name, alpha=0.6)
        middle = np.mean(steps), np.mean([one.psnr_db for one in seeds.values()])
        axes.plot(*middle, "_", markersize=22, color=drawn.get_color())
    axes.set_xlabel("optimiser steps of the whole search, the dense training among them")
    axes.set_ylabel("mean PSNR of its ticket, dB")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
