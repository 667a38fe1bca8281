"""Dry run of a study: the real network at full size, one step in every stage, in a temporary folder."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import numpy as np

from mirl.config import Stopped
from mirl.data import made_up
from mirl.study.params import ROOT_TICKET, Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.study.workspace import Workspace
from mirl.training.device import device_of
from mirl.training.run import READ_EVERY

SIDE = 128
"""Smallest side of a made-up photograph in pixels."""
MOST_STEPS, LEAST_WAITS, MEASURE_SECONDS = 200, 2, 5.0
"""Largest number of steps of a measurement, least number of waits for the device after the first, and seconds.

The first wait is slow and left out; on a GPU there is one wait every READ_EVERY steps.
"""


def dry_run(params: Params, root: Path) -> Iterator[tuple[str, float]]:
    """Run every stage and yield (stage, its seconds).

    Takes one step per training, one round of every arm with the rounds before it, and one image per task for scoring.
    Uses the prepared data of `root` if there is any, else made-up photographs.
    """
    rounds = {name: params.rounds[name] for name in one_of_each_arm(params)}
    train = params.train.model_copy(update={"steps": 1, "warmup_steps": 0, "rewind_step": 0})
    scores = {"protocols": params.evaluate.protocols[:1], "limit": 1, "pictures": 0}
    evaluate = params.evaluate.model_copy(update=scores)
    with _stage_folder(params, root) as study:
        small = {"data": study.params.data, "rounds": rounds, "train": train, "evaluate": evaluate}
        study = Study(root=study.root, params=params.model_copy(update=small))
        stages = _first_stages(study) + [(stage, name) for stage in ("round", "evaluate") for name in rounds]
        for stage, key in [*stages, ("compare", "")]:
            began = time.monotonic()
            STAGES[stage](study, key)
            yield f"{stage} {key}".rstrip(), time.monotonic() - began


def step_seconds(params: Params, root: Path) -> float:
    """Measure the seconds of a training step of the dense network, in one process on this machine; median of a few."""
    every = READ_EVERY[device_of(params.machine).type]  # only then a GPU has done what it was told
    moments: list[float] = []

    def enough() -> bool:
        moments.append(time.monotonic())
        waited = moments[every - 1 :: every]
        return len(waited) > LEAST_WAITS and waited[-1] - waited[0] >= MEASURE_SECONDS

    train = params.train.model_copy(
        update={"steps": MOST_STEPS, "warmup_steps": 0, "rewind_step": 0, "record_every": MOST_STEPS}
    )
    with _stage_folder(params, root) as study:
        machine = params.machine.model_copy(update={"processes": 1, "checkpoint_seconds": 3600.0})
        own = {"data": study.params.data, "train": train, "machine": machine}
        study = Study(root=study.root, params=params.model_copy(update=own))
        for stage, key in _first_stages(study):
            STAGES[stage](study, key)
        watched = Study(root=study.root, params=study.params, should_stop=enough)
        with suppress(Stopped):
            STAGES["round"](watched, params.promote.references[0])
    return median(np.diff(moments[every - 1 :: every])) / every


def one_of_each_arm(params: Params) -> list[str]:
    """List the first round of each arm, every reference, and the rounds that lead to them, in the study's order."""
    needed: set[str] = set()
    arms: set[str] = set()
    for name, item in params.rounds.items():
        if item.arm in arms and name not in params.promote.references:
            continue
        arms.add(item.arm)
        on_the_way = name
        while on_the_way != ROOT_TICKET:
            needed.add(on_the_way)
            on_the_way = params.rounds[on_the_way].after
    return [name for name in params.rounds if name in needed]


def has_data(root: Path) -> bool:
    """Return whether the data of the study below `root` has been prepared."""
    return Workspace(root).prepared.exists()


def _first_stages(study: Study) -> list[tuple[str, str]]:
    return [("init", "")] if study.files.prepared.exists() else [("prepare", ""), ("init", "")]


@contextmanager
def _stage_folder(params: Params, root: Path) -> Iterator[Study]:
    """Yield a study in a temporary folder on the same disk, with the prepared data of `root` or made-up photographs."""
    (root / ".mirl").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dry-run-", dir=root / ".mirl") as folder:
        data = made_up.section(params.data.tasks)
        study = Study(root=Path(folder), params=params.model_copy(update={"data": data}))
        if has_data(root):
            study.files.prepared.parent.mkdir(parents=True)
            study.files.prepared.symlink_to(Workspace(root).prepared.resolve(), target_is_directory=True)
        else:
            scale = max(task.scale for task in data.table.values())
            made_up.write(data, study.root / data.root, max(SIDE, params.train.batches.patch * scale))
        yield study
