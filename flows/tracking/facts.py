"""Facts in the files of one ticket, as plain values: numbers, words, curve, pictures; no MLflow."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from mirl.config import UserError
from mirl.data.images import read_image
from mirl.evaluation.sharing_figure import draw
from mirl.methods import remembered
from mirl.records import TrainRecord
from mirl.sparsity.sharing import Sharing
from mirl.study.candidates import PARTS, machine_words
from mirl.study.workspace import Workspace, read_json
from mirl.tickets.reading import inspect, read
from mirl.tickets.routing import ROUTINGS
from mirl.training.section import TrainSection
from mirl.yaml import read_yaml

SECTIONS: dict[str, Callable[[Any], BaseModel]] = {"arm": remembered, "train": TrainSection.model_validate}


@dataclass(frozen=True, kw_only=True)
class TicketFacts:
    """Everything of one ticket that is worth showing."""

    name: str
    fingerprint: str
    dataset: str
    """Digest of the prepared data it was trained on; empty for the untrained network."""
    params: dict[str, float]
    """Settings that the ticket was made with."""
    tags: dict[str, str]
    metrics: dict[str, float]
    """Results of the ticket, under the names of design.md."""
    ticket: Path
    history: Path | None
    pictures: dict[str, list[Path]]
    """`<task>/<image>` -> files of the picture before and after, and of the truth."""

    @property
    def digest(self) -> str:
        """SHA-256 digest of all the facts; tickets with equal digests need no second look."""
        words = [
            self.name,
            self.fingerprint,
            self.params,
            self.tags,
            self.metrics,
            _header_digest(self.ticket),
        ]
        made = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
        made.update(_digest([self.history] if self.history else []).encode())
        made.update(self.pictures_digest.encode())
        return made.hexdigest()

    @property
    def pictures_digest(self) -> str:
        return _digest([path for paths in self.pictures.values() for path in paths])

    @property
    def train_seconds(self) -> float:
        return self.metrics.get("train_seconds", 0.0)

    def records(self) -> list[TrainRecord]:
        """Return the records of the training curve; an empty list if there is no history."""
        if self.history is None:
            return []
        rows = pd.read_parquet(self.history).to_dict("records")
        return [TrainRecord.of_row({str(name): value for name, value in row.items()}) for row in rows]

    def strips(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each `<task>/<image>` with its pictures side by side: uint8 HWC."""
        for key, paths in self.pictures.items():
            yield key, _beside([read_image(path) for path in paths])


def ticket_names(root: Path) -> list[str]:
    """Return the names of the study's tickets that exist, in the order of its rounds."""
    rounds = _section(study_file(root), "rounds")
    return [name for name in rounds if (Workspace(root).ticket(name) / "ticket.safetensors").exists()]


def study_file(root: Path) -> dict[str, Any]:
    """Return the plain data of params.yaml. Raises UserError if it names no study."""
    values = read_yaml(root / "params.yaml")
    if not isinstance(values, dict) or not isinstance(values.get("study"), str) or not values["study"]:
        raise UserError("params.yaml: `study` is missing; give the study a name, such as `study: demo`")
    return values


def read_facts(root: Path, name: str) -> TicketFacts:
    """Gather the facts in `tickets/<name>`, `scores/<name>` and the report. Raises UserError without a ticket."""
    files = Workspace(root)
    ticket, history = files.ticket(name) / "ticket.safetensors", files.ticket(name) / "history.parquet"
    if not ticket.exists():
        raise UserError(
            f"there is no ticket {name!r}; there are {', '.join(ticket_names(root)) or 'none yet'}"
        )
    header = inspect(ticket)
    lineage = header["lineage"]
    arm, train = (_complete(lineage["settings"], key) for key in ("arm", "train"))
    made, scored = (
        _numbers_of(folder / "metrics.json") for folder in (files.ticket(name), files.scores(name))
    )
    tags = {
        "name": name,
        "arm": lineage["arm"],
        "method": lineage["method"],
        "network": header["network"]["name"],
    }
    tags |= {"dataset": lineage["data"], "parent": lineage["parent"]}
    tags |= {key: value for key, value in arm.items() if isinstance(value, str)}
    tags["requirement"] = _requirement(lineage["settings"])
    tags |= machine_words(files.ticket(name)) | _judgement(files, name)
    numbers = {"round": lineage["round"], "seed": lineage["seed"], "steps": lineage["steps"]}
    numbers |= {"rewind_step": lineage["origin_step"], **_leaves(arm, "arm."), **_leaves(train, "train.")}
    numbers |= {key: value for key, value in _leaves(arm).items() if key in ("fraction", "density")}
    return TicketFacts(
        name=name,
        fingerprint=lineage["fingerprint"],
        dataset=lineage["data"],
        params=numbers,
        tags={key: value for key, value in tags.items() if value},
        metrics=made | scored | _searched(files, name),
        ticket=ticket,
        history=history if history.exists() else None,
        pictures=_pictures(files.scores(name) / "pictures"),
    )


def sharing_picture(facts: TicketFacts) -> str:
    """Draw as SVG who uses whose weights in a ticket of several requirements; empty for other tickets.

    The network of the ticket need not be known here. Raises UserError if the ticket cannot be read.
    """
    routing = inspect(facts.ticket)["routing"]
    if not ROUTINGS[routing["kind"]].told:
        return ""
    masks = read(facts.ticket, check=lambda *_: None).masks
    return draw(facts.name, Sharing.of(masks)) if len(masks) > 1 else ""


def _requirement(settings: dict[str, Any]) -> str:
    """Return the tasks that the ticket's round was for; empty if it was for all of the study."""
    tasks = settings.get("tasks")
    return " ".join(map(str, tasks)) if isinstance(tasks, list) else ""


def _complete(settings: dict[str, Any], key: str) -> dict[str, Any]:
    """Return one section of a ticket's settings with its defaults; unchanged if today's mirl does not know its keys."""
    values = _section(settings, key)
    try:
        return SECTIONS[key](values).model_dump(mode="json") if values else {}
    except ValidationError:
        return values


def _judgement(files: Workspace, name: str) -> dict[str, str]:
    """Return the tags for the verdict of the report, and for what the evaluation found broken."""
    tags = {}
    findings, table = files.scores(name) / "findings.json", files.report / "comparison.parquet"
    if findings.exists():
        found = [f"{item['kind']} {item['layer']}".strip() for item in read_json(findings)]
        tags["collapse"] = ", ".join(found)[:5000] or "none"
    if table.exists():
        rows = pd.read_parquet(table, columns=["name", "verdict", "beats_controls"]).set_index("name")
        if name in rows.index:
            verdict, beats = (str(rows.loc[name, column]) for column in ("verdict", "beats_controls"))
            tags |= {
                "verdict": verdict,
                "winning": "yes" if verdict == "wins" and beats not in ("no", "unknown") else "no",
            }
    return tags


def _searched(files: Workspace, name: str) -> dict[str, float]:
    """Return what the search up to this ticket has cost, by the report; empty if the report does not say."""
    table = files.report / "comparison.parquet"
    if not table.exists():
        return {}
    rows = pd.read_parquet(table).set_index("name").filter(like="search/")
    return {
        str(key): float(value)
        for key, value in rows[rows.index == name].dropna(axis=1).iloc[:1].sum().items()
    }


def _pictures(folder: Path) -> dict[str, list[Path]]:
    keys = sorted({path.stem.rpartition("--")[0] for path in folder.glob("*--*--*.png")})
    found = {key: [folder / f"{key}--{kind}.png" for kind in PARTS] for key in keys}
    return {
        key.replace("--", "/", 1): [path for path in paths if path.exists()] for key, paths in found.items()
    }


def _beside(images: list[np.ndarray]) -> np.ndarray:
    height, gap = max(image.shape[0] for image in images), 4
    strip = np.full((height, sum(image.shape[1] + gap for image in images) - gap, 3), 255, np.uint8)
    left = 0
    for image in images:
        strip[: image.shape[0], left : left + image.shape[1]] = image
        left += image.shape[1] + gap
    return strip


def _numbers_of(path: Path) -> dict[str, float]:
    """Return every finite number of a file of metrics; the mean over no image is not finite."""
    found = _leaves(read_json(path)) if path.exists() else {}
    return {key: value for key, value in found.items() if math.isfinite(value)}


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Return every number below `values`, by its dotted path; booleans are no numbers."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{prefix}{key}"] = value
    return found


def _section(values: dict[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _header_digest(ticket: Path) -> str:
    return hashlib.sha256(json.dumps(inspect(ticket), sort_keys=True, default=str).encode()).hexdigest()


def _digest(paths: list[Path]) -> str:
    made = hashlib.sha256()
    for path in paths:
        made.update(path.name.encode() + b"\0")
        made.update(hashlib.sha256(path.read_bytes()).digest())
    return made.hexdigest()
