"""Scores of a ticket on the test images, with the work that its router let it do."""

from collections.abc import Iterable

import pandas as pd
from torch import Tensor

from mirl.evaluation.scoring import EvaluateSection, Progress, TestImage, score, summary
from mirl.restore.restorer import Restorer
from mirl.sparsity.accounting import macs
from mirl.study import ticket_folder
from mirl.tickets.routing import ByDifficulty
from mirl.tickets.ticket import Ticket

TASK_WORK = "macs_g/"
"""Beginning of the name of a metric: multiply-accumulates (1e9) of one image for the task that follows."""


def scored(
    restorer: Restorer,
    ticket: Ticket,
    images: Iterable[TestImage],
    section: EvaluateSection,
    progress: Progress,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return (the table of `score`, the ticket's metrics and the table's means under the deciding protocol).

    If the ticket routes by difficulty, the table has the column `work`, the share of the largest sub-network's work that
    an image took, and the metrics its mean, `work/share`, as a share of the dense network's. A ticket that is told its
    task has the work of each, see `_told_work`.
    """
    shares: list[float] = []

    def restore(image_BCHW: Tensor, task: str) -> Tensor:
        restored_BCHW, share = restorer.measured(image_BCHW, task)
        shares.append(share)
        return restored_BCHW

    frame = score(restore, images, section, progress)
    metrics = ticket_folder.metrics(ticket) | summary(frame, section.protocols[0])
    if isinstance(ticket.routing, ByDifficulty):
        frame["work"] = shares
        decisive = frame[frame["protocol"] == section.protocols[0]]
        largest = metrics["macs_g"] / metrics["macs_dense_g"]
        metrics["work/share"] = float(decisive.groupby("task")["work"].mean().mean() * largest)
    return frame, metrics | _told_work(ticket)


def _told_work(ticket: Ticket) -> dict[str, float]:
    """Return the work for each task that the ticket is told, `macs_g/<task>`, counted as `macs_g`.

    If there are several sub-networks, `work/share` is the mean over the tasks of their shares of the dense work.
    """
    found: dict[str, float] = {}
    shares: list[float] = []
    for mask, tasks in ticket.routing.told_tasks.items():
        alone = ticket.alone(mask)
        work = macs(alone.outline(), alone.mask, ticket_folder.MACS_SIDE, ticket_folder.MACS_SIDE)
        found |= {f"{TASK_WORK}{task}": work.kept_g for task in tasks}
        shares += [work.kept_g / work.dense_g] * len(tasks)
    return found | ({"work/share": sum(shares) / len(shares)} if len(ticket.masks) > 1 and shares else {})
