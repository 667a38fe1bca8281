"""Display of a lottery in Prefect's pages: a bar, a table that grows with each ticket, and the decision."""

from pathlib import Path

from flows import tracking
from flows.graph import Node
from flows.orchestration.artifacts import begin_progress, keep_table, keep_text, key_of
from flows.orchestration.runner import StageResult
from mirl.study.workspace import Workspace, read_decision
from mirl.terminal import printable

COLUMNS = {"density": "density/prunable", "PSNR dB": "psnr_db/mean", "SSIM": "ssim/mean"}
"""Column of the table -> metric, by the names of MLflow."""


class StatusTable:
    """Display of one lottery while it runs: a bar, and a row for each ticket, named as after the `@` of its stages."""

    def __init__(self, study: str, root: Path, stages: int) -> None:
        """`root` is the folder whose MLflow store the links lead to; `stages` is the number of stages to be made."""
        self.study, self.root, self._stages, self._made = study, root, stages, 0
        self._metrics: dict[str, dict[str, float]] = {}
        self._seconds: dict[str, float] = {}
        self._move = begin_progress(
            key_of("progress", study), f"stages of {study} that are made", 0.0 if stages else 100.0
        )

    def add(self, node: Node, done: StageResult) -> None:
        """Show the result of a stage; each table is a further version of one artifact."""
        self._made += 1
        self._move(100.0 * self._made / self._stages)
        _, _, ticket = node.name.partition("@")
        if not ticket:
            return
        self._metrics.setdefault(ticket, {}).update(done.metrics)
        self._seconds[ticket] = self._seconds.get(ticket, 0.0) + done.seconds
        if done.metrics:
            keep_table(key_of("tickets", self.study), self._rows(), f"tickets of {self.study}")

    def _rows(self) -> list[dict[str, str | float]]:
        links = tracking.links(self.root, self.study)
        return [
            {"ticket": ticket}
            | {column: f"{found[metric]:.4f}" for column, metric in COLUMNS.items() if metric in found}
            | {"minutes": round(self._seconds[ticket] / 60, 1)}
            | ({"MLflow": f"[run]({links[ticket]})"} if ticket in links else {})
            for ticket, found in self._metrics.items()
            if found
        ]


def show_decision(study: str, root: Path) -> None:
    """Show the decision and its reasons, from the report below `root`; do nothing if there is no decision."""
    report = Workspace(root).report
    if (report / "decision.json").exists():
        decision = read_decision(report)
        title = f"**{decision.ticket}**" if decision.ticket else "No ticket"
        reasons = "".join(f"- {printable(reason)}\n" for reason in decision.reasons)
        text = f"# {study}\n\n{title}\n\n{reasons}"
        keep_text(key_of("decision", study), text, f"decision of {study}")
