"""Sweep over the severities of a study's tasks: reads the prepared photographs, writes a folder of curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mirl.config import UserError
from mirl.data.packed import PackedImages
from mirl.data.tasks import Severity, Task
from mirl.evaluation.sweep import Photograph, SweptTicket, chosen, sweep
from mirl.restore.restorer import Restorer
from mirl.study.held_out import memory_in_words
from mirl.study.study import ImageBar, Study
from mirl.tickets.ticket import Ticket
from mirl.training.device import device_of


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options of a sweep: what is swept, and how finely."""

    tasks: Sequence[str] = ()
    """Tasks that are swept; empty: all whose damage can be made."""
    severity: str = ""
    """Severity that is swept; empty: each severity of a task."""
    points: int = 7
    """Number of values over a severity's range, both ends included; the ends of the training range are added."""
    limit: int | None = None
    """Photographs per task; None: `evaluate.limit` of the study."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """Result of a sweep."""

    frame: pd.DataFrame
    """Table of `mirl.evaluation.sweep`."""
    severities: Sequence[tuple[Task, Severity]]


def sweep_study(study: Study, tickets: Mapping[str, Ticket], options: SweepOptions) -> Swept:
    """Score each of `tickets`, keyed by the name to show, on the study's clean test photographs.

    Raises UserError if the data is not prepared, a task or severity is not known, or a ticket serves none of the tasks.
    """
    packed, section = PackedImages(study.files.prepared), study.params.evaluate
    severities = chosen(packed.tasks, options.tasks, options.severity)
    grid = [(task, severity, severity.values(options.points)) for task, severity in severities]
    if options.limit is not None:
        section = section.model_copy(update={"limit": options.limit})
    machine = study.params.machine
    device = str(device_of(machine))
    swept = [
        SweptTicket(
            name=name,
            sha256=ticket.sha256,
            restore=Restorer(ticket, threads=machine.threads, device=device, skip_zeros=False).run,
            serves=ticket.routing.serves,
        )
        for name, ticket in tickets.items()
    ]
    with memory_in_words(device), ImageBar("sweep", study.should_stop) as bar:
        frame = sweep(swept, grid, lambda task: photographs(packed, task), section, bar)
    return Swept(frame=frame, severities=severities)


def photographs(packed: PackedImages, task: Task) -> list[Photograph]:
    """List the clean test photographs, or, if the study has none, the clean images of the task's test pairs.

    Raises UserError if there are neither.
    """
    items = packed.photographs("test") or packed.items("test", task.name)
    if not items:
        raise UserError(
            f"{packed.folder} has no clean test photographs for {task.name}; add a source of photographs of the split test"
        )
    return [
        Photograph(
            image=item.image,
            clean_HWC=packed.image(item.clean),
            depth_HW=None if item.depth is None else packed.image(item.depth),
        )
        for item in items
    ]
