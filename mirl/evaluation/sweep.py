"""Sweep of a ticket over the severity of its tasks, to find how strong a damage makes the ticket useless.

Legend: H height, W width, C colour channels (R, G, B).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mirl.config import UserError
from mirl.data.tasks import Severity, Task
from mirl.evaluation.collapse import LEARNED_GAIN_DB
from mirl.evaluation.scoring import METRICS, EvaluateSection, Progress, Restore, TestImage, score, silent

COLUMNS = ["ticket", "sha256", "task", "severity", "value", "image", "protocol", *METRICS, "change"]
"""Columns of a sweep, which has a row for each ticket, task, severity, value and image."""


@dataclass(frozen=True, kw_only=True)
class SweptTicket:
    """Ticket of a sweep, with its restorer."""

    name: str
    sha256: str
    restore: Restore
    serves: Callable[[str], bool]
    """Returns True if the ticket restores that task."""


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """A clean test photograph."""

    image: str
    clean_HWC: np.ndarray
    """uint8 RGB."""
    depth_HW: np.ndarray | None = None
    """Depth, float32 in (0, 1]; None if it is not known."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Mean quality of a ticket at each value of one severity."""

    ticket: str
    values: Sequence[float]
    """Values of the severity, in ascending order."""
    psnr_db: Sequence[float]
    input_psnr_db: Sequence[float]

    @property
    def gains_db(self) -> list[float]:
        """Gain in dB over the PSNR of the input, at each value."""
        return [after - before for after, before in zip(self.psnr_db, self.input_psnr_db)]

    @property
    def useless(self) -> list[bool]:
        """True for each value at which the gain is under LEARNED_GAIN_DB."""
        return [gain < LEARNED_GAIN_DB for gain in self.gains_db]

    def in_words(self) -> str:
        """Describe where the gain is under LEARNED_GAIN_DB, as the end of a sentence."""
        gains, limit = self.gains_db, f"{LEARNED_GAIN_DB:g} dB"
        least, most = (
            f"{gain:+.2f} dB at {self.values[gains.index(gain)]:g}" for gain in (min(gains), max(gains))
        )
        if not any(self.useless):
            return f"gains at least {limit} everywhere; least {least}"
        if all(self.useless):
            return f"gains less than {limit} everywhere; most {most}"
        runs = " and ".join(_run(first, last) for first, last in self._runs())
        return f"gains less than {limit} {runs}; least {least}"

    def _runs(self) -> list[tuple[float, float]]:
        """Return the first and last value of each stretch of useless values."""
        runs: list[tuple[float, float]] = []
        before = False
        for value, useless in zip(self.values, self.useless):
            if useless:
                runs[-1:] = [(runs[-1][0], value)] if before else [*runs[-1:], (value, value)]
            before = useless
        return runs


def chosen(
    tasks: Mapping[str, Task], names: Sequence[str] = (), severity: str = ""
) -> list[tuple[Task, Severity]]:
    """Return each severity of the tasks `names` (if empty, of all that have one), or only those called `severity`.

    Raises UserError if a name is not known, a named task has no severity, or nothing is left.
    """
    able = [name for name, task in tasks.items() if task.severities]
    for name in names:
        if name not in tasks:
            raise UserError(f"there is no task {name!r} in the prepared data; it has {', '.join(tasks)}")
        if name not in able:
            raise UserError(
                f"{name} has no severity, as its pictures cannot be made; those that have one: {', '.join(able) or 'none'}"
            )
    own = [(tasks[name], found) for name in names or able for found in tasks[name].severities]
    if not own:
        raise UserError(
            "none of the tasks of the prepared data has a severity, as their pictures cannot be made; add another to "
            "`data.tasks`, and run `dvc repro prepare`"
        )
    known = list(dict.fromkeys(found.name for _, found in own))
    if severity and severity not in known:
        raise UserError(f"there is no severity {severity!r}; known are {', '.join(known)}")
    return [(task, found) for task, found in own if severity in ("", found.name)]


def sweep(
    tickets: Sequence[SweptTicket],
    grid: Sequence[tuple[Task, Severity, Sequence[float]]],
    photographs: Callable[[Task], Sequence[Photograph]],
    section: EvaluateSection,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Score every ticket on every photograph at every value, under the first protocol of `section`.

    Returns a table with COLUMNS. A ticket is left out for a task that it does not serve; raises UserError if it serves
    none. Chance is seeded by the names of photograph and task alone, and so is the same at every value. `section.limit`
    is the number of photographs of each task.
    """
    for ticket in tickets:
        if not any(ticket.serves(task.name) for task, _, _ in grid):
            names = dict.fromkeys(task.name for task, _, _ in grid)
            raise UserError(
                f"the ticket {ticket.name} serves none of {', '.join(names)}; leave it out, or name a task that it serves"
            )
    one = section.model_copy(update={"protocols": section.protocols[:1], "limit": None})
    pictures = {task.name: photographs(task)[: section.limit] for task, _, _ in grid}
    work = [
        (task, severity, value, [ticket for ticket in tickets if ticket.serves(task.name)])
        for task, severity, values in grid
        for value in values
    ]
    total = sum(len(pictures[task.name]) * len(able) for task, _, _, able in work)
    parts, done = [], 0
    for task, severity, value, able in work:
        images = (
            [_degraded(photograph, severity.at(value)) for photograph in pictures[task.name]] if able else []
        )
        for ticket in able:
            found = score(ticket.restore, images, one, _shifted(progress, done, total))
            done += len(images)
            parts.append(
                found.assign(ticket=ticket.name, sha256=ticket.sha256, severity=severity.name, value=value)[
                    COLUMNS
                ]
            )
    return pd.concat(parts, ignore_index=True)


def curves(frame: pd.DataFrame) -> dict[tuple[str, str], list[Curve]]:
    """Return the curves of the tickets by (task, severity), all in the order of the table.

    Each value is a mean over images.
    """
    found: dict[tuple[str, str], list[Curve]] = {}
    for (task, severity, ticket), rows in frame.groupby(["task", "severity", "ticket"], sort=False):
        means = rows.groupby("value")[["psnr_db", "input_psnr_db"]].mean()
        curve = Curve(
            ticket=str(ticket),
            values=[float(value) for value in means.index],
            psnr_db=means["psnr_db"].tolist(),
            input_psnr_db=means["input_psnr_db"].tolist(),
        )
        found.setdefault((str(task), str(severity)), []).append(curve)
    return found


def _degraded(photograph: Photograph, task: Task) -> TestImage:
    """Apply the task's damage to the photograph; noise is left to the protocol."""
    degraded = None
    if task.testing:
        degraded = task.test_input(photograph.image, photograph.clean_HWC, photograph.depth_HW)
    return TestImage(image=photograph.image, task=task, clean_HWC=photograph.clean_HWC, degraded_HWC=degraded)


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    """Return the progress of a part that comes after `before` images, of `total` in all."""
    return lambda done, _: progress(before + done, total)


def _run(first: float, last: float) -> str:
    return f"at {first:g}" if first == last else f"from {first:g} to {last:g}"
