"""Interface to MLflow's tracking: live curves from a training, and the import of what a study has made.

python -m flows.tracking sync            every ticket of the study in this folder
python -m flows.tracking ui              MLflow's pages over the embedded store
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from flows.tracking.live import LiveSink, Recorder
from mirl.records import Sink

if TYPE_CHECKING:
    from flows.tracking.importing import Synced

# MLflow takes seconds to import. A training must not wait for it: what needs it is imported where it is used.

_IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
"""Settings for curves that can be imported later: a server that is down is given up after seconds, not minutes."""


def ticket_sink(fingerprint: str, name: str, study: str) -> Sink:
    """Return a sink that shows the training of ticket `name` live, in the run of `fingerprint`, and never holds it up.

    The store is that of the current folder, where DVC runs its stages.
    """
    root = Path.cwd()
    for key, value in _IMPATIENT.items():
        os.environ.setdefault(key, value)

    def open_recorder() -> Recorder:
        from flows.tracking.importing import git_revision
        from flows.tracking.runs import FLOW_RUN, StudyRuns, TicketRun
        from flows.tracking.store import Store

        store = Store(root)
        run = StudyRuns(store, study).make_ticket(fingerprint, name, imported=False)
        recorder = TicketRun(store, run)
        recorder.begin()
        for key, value in (
            ("git_revision", git_revision(root)),
            (FLOW_RUN, os.environ.get("MIRL_FLOW_RUN")),
        ):
            if value:
                store.client.set_tag(run.info.run_id, key, value)
        return recorder

    return LiveSink(name, open_recorder)


def links(root: Path, study: str) -> dict[str, str]:
    """Return the page of each ticket's run, by the ticket's name; empty if no server shows pages or answers."""
    from flows.tracking.runs import StudyRuns
    from flows.tracking.store import Store, address

    if not address(root).startswith("http"):
        return {}
    try:
        runs = StudyRuns(Store(root), study)
        page = f"{runs.store.uri}/#/experiments/{runs.experiment_id}/runs"
        found = {run.data.tags["name"]: run.info.run_id for run in runs.tickets()}
        return {name: f"{page}/{run}" for name, run in found.items() if re.fullmatch("[0-9a-f]{32}", run)}
    except Exception:  # links are a comfort; MLflow may be down
        return {}


def sync(root: Path, names: list[str] | None = None, flow_run: str = "") -> "list[Synced]":
    """Import what a study has made; see `flows.tracking.importing.sync`."""
    from flows.tracking import importing

    return importing.sync(root, names, flow_run)
