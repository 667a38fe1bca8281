"""Scores of a ticket on the test images, with the work that its router let it do."""

from collections.abc import Iterable

import pandas as pd
from torch import Tensor

from mirl.evaluation.scoring import EvaluateSection, Progress, TestImage, score, summary
from mirl.restore.restorer import Restorer
from mirl.study import ticket_folder
from mirl.tickets.routing import ByDifficulty
from mirl.tickets.ticket import Ticket


def scored(
    restorer: Restorer,
    ticket: Ticket,
    images: Iterable[TestImage],
    section: EvaluateSection,
    progress: Progress,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return (the table of `score`, the ticket's metrics and the table's means under the deciding protocol).

    If the ticket routes by difficulty, the table has the column `work`, the share of the largest sub-network's work that
    an image took, and the metrics its mean, `work/share`, as a share of the dense network's.
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
    return frame, metrics
