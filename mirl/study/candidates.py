"""Candidates of the comparison, read from a study's files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mirl.config import UserError
from mirl.evaluation.collapse import Finding
from mirl.evaluation.comparison import Candidate
from mirl.evaluation.scoring import ExamplePicture
from mirl.methods import role_of
from mirl.sparsity.sharing import Sharing
from mirl.study.lineages import weight_steps
from mirl.study.params import Params
from mirl.study.scores import TASK_WORK
from mirl.study.workspace import Workspace, read_json
from mirl.tickets import reading
from mirl.tickets.lineage import Lineage

PARTS = ("input", "output", "clean")


def read_candidates(files: Workspace, params: Params) -> list[Candidate]:
    """Read the candidate of each round of the study, in the study's order. Raises UserError if a file is missing."""
    found = [_candidate(files, params, name) for name in params.rounds]
    steps = weight_steps({candidate.sha256: lineage for candidate, lineage in found})
    return [replace(candidate, weight_steps=steps[candidate.sha256]) for candidate, _ in found]


def _candidate(files: Workspace, params: Params, name: str) -> tuple[Candidate, Lineage]:
    folder, scores = files.ticket(name), files.scores(name)
    ticket = reading.read(folder / "ticket.safetensors")
    told = ticket.routing.told_tasks
    candidate = Candidate(
        name=name,
        arm=params.rounds[name].arm,
        method=ticket.lineage.method,
        role=role_of(ticket.lineage.method),
        round=ticket.lineage.round,
        parent=params.rounds[name].after,
        sha256=ticket.sha256,
        device=machine_words(folder).get("device", ""),
        metrics=read_json(folder / "metrics.json") | _measured(scores),
        scores=pd.read_parquet(scores / "scores.parquet"),
        told=ticket.routing.told,
        requirements={mask: told[mask] for mask in ticket.masks if mask in told},
        sharing=Sharing.of(ticket.masks) if ticket.routing.told else None,
        findings=[Finding(**plain) for plain in read_json(scores / "findings.json")],
        layer_density=ticket.mask.layer_density(),
        history=pd.read_parquet(folder / "history.parquet"),
        pictures=read_pictures(scores / "pictures"),
    )
    return candidate, ticket.lineage


def _measured(scores: Path) -> dict[str, float]:
    """Return the ticket's work by the evaluation, if it depends on the image or its task; else nothing."""
    found: dict[str, float] = read_json(scores / "metrics.json")
    return {key: value for key, value in found.items() if key == "work/share" or key.startswith(TASK_WORK)}


def machine_words(ticket: Path) -> dict[str, str]:
    """Read what trained the ticket of that folder; empty for the untrained network, or a ticket of an older mirl."""
    path = ticket / "machine.json"
    found: dict[str, str] = read_json(path) if path.exists() else {}
    return found


def write_pictures(pictures: list[ExamplePicture], folder: Path) -> None:
    """Write `<task>--<image>--<part>.png` for the parts input, output and clean.

    Raises UserError if the name of an image contains a folder.
    """
    folder.mkdir()
    for picture in pictures:
        name = f"{picture.task}--{picture.image}"
        if "/" in name or "\0" in name:
            raise UserError(
                f"the prepared data has an image called {name!r}, expected a name without folders; "
                "run `dvc repro prepare`"
            )
        for part in PARTS:
            path = folder / f"{name}--{part}.png"
            Image.fromarray(getattr(picture, f"{part}_HWC")).save(path)


def read_pictures(folder: Path) -> list[ExamplePicture]:
    """Read the pictures that `write_pictures` wrote, ordered by task and image."""
    found = []
    for path in sorted(folder.glob(f"*--{PARTS[0]}.png")):
        task, _, image = path.stem.removesuffix(f"--{PARTS[0]}").partition("--")
        trio = [np.asarray(Image.open(folder / f"{task}--{image}--{part}.png")) for part in PARTS]
        found.append(ExamplePicture(image, task, *trio))
    return found
