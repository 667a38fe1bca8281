"""Runs in MLflow: a study is an experiment with one parent run, and one run for each ticket below it."""

import math
import time
from collections.abc import Sequence

from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from flows.tracking.store import Store
from mirl.config import UserError
from mirl.names import named
from mirl.records import CURVES, TrainRecord

FINGERPRINT = "mirl.fingerprint"
STUDY = "mirl.study"
FLOW_RUN = "flow_run"
_METRICS_AT_ONCE = 900  # MLflow takes up to 1000 in one request


class StudyRuns:
    """The runs of one study."""

    def __init__(self, store: Store, study: str) -> None:
        self.store = store
        self.study = named(study, "the study's name")
        self.client = store.client
        self.experiment_id = self._experiment()

    def parent(self) -> Run:
        """Return the study's own run, which is made if it is missing."""
        return self._find_or_make({STUDY: self.study}, self.study, {}, None)

    def ticket(self, fingerprint: str, name: str) -> Run | None:
        """Return the run of a ticket, or None."""
        return self._find({FINGERPRINT: fingerprint, "name": name})

    def make_ticket(self, fingerprint: str, name: str, imported: bool, seconds: float = 0) -> Run:
        """Return the run of a ticket, which is made if it is missing, as if it had begun `seconds` ago."""
        parent = self.parent().info.run_id
        tags = {MLFLOW_PARENT_RUN_ID: parent, "imported": "yes" if imported else "no"}
        begun = int((time.time() - seconds) * 1000)
        return self._find_or_make({FINGERPRINT: fingerprint, "name": name}, name, tags, begun)

    def tickets(self) -> list[Run]:
        """Return every ticket's run of the study. Raises UserError if the files of one are not at the store's location."""
        return self._search(f"tags.`{FINGERPRINT}` LIKE '%'")

    def _experiment(self) -> str:
        name = f"mirl/{self.study}"
        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                where = f"{self.store.artifacts}/{self.study}" if self.store.artifacts else None
                return str(self.client.create_experiment(name, artifact_location=where))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                    raise
                found = self.client.get_experiment_by_name(name)
        assert found is not None
        if found.lifecycle_stage != "active":
            raise UserError(
                f"the MLflow experiment {name} was deleted; restore it (`mlflow experiments restore -x "
                f"{found.experiment_id}`), or give the study another name in params.yaml"
            )
        return str(found.experiment_id)

    def _find_or_make(self, marks: dict[str, str], name: str, tags: dict[str, str], begun: int | None) -> Run:
        if (run := self._find(marks)) is not None:
            return run
        with self.store.locked("runs"):
            if (run := self._find(marks)) is not None:
                return run
            made = self.client.create_run(
                self.experiment_id, begun, marks | tags | {MLFLOW_RUN_NAME: name}, name
            )
            first = self._find(marks) or made
            if (
                first.info.run_id != made.info.run_id
            ):  # another machine made it at the same moment: the older stays
                self.client.delete_run(made.info.run_id)
            return first

    def _find(self, marks: dict[str, str]) -> Run | None:
        return next(
            iter(self._search(" AND ".join(f"tags.`{key}` = '{value}'" for key, value in marks.items()))),
            None,
        )

    def _search(self, condition: str) -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            order = ["attributes.start_time ASC", "attributes.run_id ASC"]
            page = self.client.search_runs(
                [self.experiment_id], condition, max_results=1000, order_by=order, page_token=token
            )
            runs += [run for run in page if self.store.own(run.info.artifact_uri)]
            if not (token := page.token):
                return runs


class TicketRun:
    """Writer of the curve and the state of one training's run, while the training runs or after it."""

    def __init__(self, store: Store, run: Run) -> None:
        self.store = store
        self.run = run
        history = store.client.get_metric_history(run.info.run_id, f"train/{CURVES[0]}")
        self._logged = {point.step for point in history}
        self.last_moment = max((point.timestamp for point in history), default=None)
        """Time of the last point of the curve, in milliseconds since 1970."""

    def begin(self) -> None:
        if self.run.info.status != "RUNNING":
            self.store.client.update_run(self.run.info.run_id, status="RUNNING")

    def log(self, records: Sequence[TrainRecord], moments: Sequence[int] | None = None) -> None:
        """Log the points of the curves that are missing; `moments` are in milliseconds since 1970 (None: now)."""
        now = int(time.time() * 1000)
        points = [
            Metric(f"train/{curve}", value, moment, record.step)
            for record, moment in zip(records, moments or [now] * len(records), strict=True)
            if record.step not in self._logged
            for curve, value in record.row().items()
            if curve != "step" and math.isfinite(value)
        ]
        for start in range(0, len(points), _METRICS_AT_ONCE):
            self.store.client.log_batch(
                self.run.info.run_id, metrics=points[start : start + _METRICS_AT_ONCE]
            )
        self._logged |= {record.step for record in records}

    def end(self, status: str = "FINISHED", moment: int | None = None) -> None:
        """Close the run at `moment`, in milliseconds since 1970 (None: now)."""
        self.store.client.set_terminated(self.run.info.run_id, status, moment)
