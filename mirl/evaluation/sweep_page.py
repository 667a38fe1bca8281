"""Page of a sweep's results, self-contained."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from mirl.data.tasks import Severity, Task
from mirl.evaluation import figures
from mirl.evaluation.report import render
from mirl.evaluation.sweep import Curve, curves


def page(frame: pd.DataFrame, severities: Sequence[tuple[Task, Severity]], title: str) -> str:
    """Return the page of a table of `sweep` as HTML that needs no other file; the same table gives the same bytes."""
    tickets = frame[["ticket", "sha256"]].drop_duplicates().to_dict("records")
    colours = {row["ticket"]: index % figures.PALETTE for index, row in enumerate(tickets)}
    found = curves(frame)
    shown = [
        _section(task, severity, found[task.name, severity.name], colours)
        for task, severity in severities
        if (task.name, severity.name) in found
    ]
    images = frame.groupby("task", sort=False)["image"].nunique().to_dict()
    protocol = frame["protocol"].iloc[0]
    return render(
        "sweep.html.j2", title=title, tickets=tickets, colours=colours, sections=shown, images=images, protocol=protocol
    )  # fmt: skip


def heading(task: Task, severity: Severity) -> str:
    """Return in words which severity of which task is swept."""
    return f"{task.name}: {severity.name}, {severity.unit}"


def _section(task: Task, severity: Severity, own: Sequence[Curve], colours: dict[str, int]) -> dict[str, Any]:
    lines = [
        figures.Line(
            label=curve.ticket, colour=colours[curve.ticket], psnr_db=curve.psnr_db, useless=curve.useless
        )
        for curve in own
    ]
    axis = figures.SeverityAxis(
        label=f"{severity.name}, {severity.unit}", values=own[0].values, trained=severity.trained
    )
    drawn = figures.against_severity(task.name, axis, own[0].input_psnr_db, lines)
    rows = [
        (f"{value:g}", own[0].input_psnr_db[place], [(c.psnr_db[place], c.useless[place]) for c in own])
        for place, value in enumerate(own[0].values)
    ]
    return {
        "task": task.name,
        "heading": heading(task, severity),
        "figure": Markup(drawn),
        "trained": _trained(severity.trained),
        "words": [(curve.ticket, curve.in_words()) for curve in own],
        "rows": rows,
    }


def _trained(ends: tuple[float, float] | None) -> str:
    if ends is None:
        return ""
    return f"{ends[0]:g}" if ends[0] == ends[1] else f"{ends[0]:g} to {ends[1]:g}"
