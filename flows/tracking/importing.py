"""Import of what a study has made into MLflow: what is missing of each ticket's run, and the report."""

import hashlib
import re
import subprocess
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from tqdm import tqdm

from flows.tracking.facts import TicketFacts, read_facts, sharing_picture, study_file, ticket_names
from flows.tracking.runs import FINGERPRINT, FLOW_RUN, StudyRuns, TicketRun
from flows.tracking.store import Store, plain_errors
from mirl.study.workspace import Workspace
from mirl.tickets.container import sha256_of

IMPORTED, SHA256, PICTURES, REPORT = "mirl.imported", "mirl.sha256", "mirl.pictures", "mirl.report"
SHARING = "mirl.sharing"
_DIGEST_LENGTH = 36  # what MLflow keeps of a dataset's digest


@dataclass(frozen=True, kw_only=True)
class Synced:
    """Outcome of the import of one ticket."""

    name: str
    run_id: str
    what: str
    """"made" (it had no run), "completed" (something was missing) or "there" (nothing was)."""


def sync(root: Path, names: list[str] | None = None, flow_run: str = "") -> list[Synced]:
    """Complete the runs of tickets `names` (None: all rounds of params.yaml that exist), and the study's run.

    `flow_run` is the run of Prefect that made the study, if one did. Idempotent: what is there stays, a run that has
    everything is skipped. Raises UserError if the study, a ticket or the store cannot be used.
    """
    study = study_file(root)["study"]
    store = Store(root)
    with plain_errors(store.uri), store.locked("sync"):
        runs = StudyRuns(store, study)
        known = {(run.data.tags.get(FINGERPRINT), run.data.tags.get("name")): run for run in runs.tickets()}
        parent = runs.parent()
        bar = tqdm(
            names if names is not None else ticket_names(root), desc="tracking", unit="ticket", disable=None
        )
        done = []
        for name in bar:
            facts = read_facts(root, name)
            run = known.get((facts.fingerprint, name))
            done.append(_sync_ticket(runs, facts, run, Workspace(root)))
        _sync_report(store, parent, Workspace(root).report)
        if flow_run:
            store.client.set_tag(parent.info.run_id, FLOW_RUN, flow_run)
    return done


def _sync_ticket(runs: StudyRuns, facts: TicketFacts, run: Run | None, files: Workspace) -> Synced:
    digest = facts.digest
    if run is not None and run.data.tags.get(IMPORTED) == digest and run.info.status == "FINISHED":
        return Synced(name=facts.name, run_id=run.info.run_id, what="there")
    what = "made" if run is None else "completed"
    run = run or runs.make_ticket(facts.fingerprint, facts.name, imported=True, seconds=facts.train_seconds)
    target = TicketRun(runs.store, run)
    finished = target.last_moment if what == "completed" else None
    _sync_numbers(runs.store, run, facts, files.root)
    _sync_curve(target, facts)
    _sync_inputs(runs.store, run, facts, files.prepared, runs.study)
    _sync_ticket_file(runs.store, run, facts.ticket)
    _sync_sharing(runs.store, run, facts)
    _sync_pictures(runs.store, run, facts)
    runs.client.set_tag(run.info.run_id, IMPORTED, digest)  # last: only a whole import counts as one
    target.end("FINISHED", run.info.end_time or finished)
    return Synced(name=facts.name, run_id=run.info.run_id, what=what)


def _sync_numbers(store: Store, run: Run, facts: TicketFacts, root: Path) -> None:
    data, now = run.data, int(time.time() * 1000)
    tags = dict(facts.tags)
    if "git_revision" not in data.tags and (revision := git_revision(root)):
        tags["imported_at_git_revision"] = revision  # the one that trained it is not known
    store.client.log_batch(
        run.info.run_id,
        metrics=[Metric(k, v, now, 0) for k, v in facts.metrics.items() if data.metrics.get(k) != v],
        params=[
            Param(k, str(v)) for k, v in facts.params.items() if k not in data.params
        ],  # they cannot change
        tags=[RunTag(k, v) for k, v in tags.items() if data.tags.get(k) != v],
    )


def _sync_curve(target: TicketRun, facts: TicketFacts) -> None:
    """Log the points of the curve, spread over the training's time: their exact times are not known."""
    records = facts.records()
    if not records:
        return
    begun, length = target.run.info.start_time, max(record.step for record in records)
    moments = [begun + int(1000 * facts.train_seconds * record.step / length) for record in records]
    target.log(records, moments)


def _sync_inputs(store: Store, run: Run, facts: TicketFacts, prepared: Path, study: str) -> None:
    there = {entry.dataset.digest for entry in (run.inputs.dataset_inputs if run.inputs else [])}
    digest = facts.dataset[:_DIGEST_LENGTH]
    if digest and digest not in there:
        dataset = _dataset(prepared / "manifest.parquet", study, digest)
        entry = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
        store.client.log_inputs(run.info.run_id, [entry])


def _dataset(manifest: Path, study: str, digest: str) -> Dataset:
    """Describe the prepared data: by its manifest's columns and counts if that is at hand, else by name and digest."""
    source = CodeDatasetSource({"prepared by": "dvc repro prepare"})
    if not manifest.exists():
        return Dataset(study, digest, "code", source.to_json())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it would rather have floats, lest a count be missing
        known = from_pandas(pd.read_parquet(manifest), source=source, name=study, digest=digest).to_dict()
    return Dataset(study, digest, known["source_type"], known["source"], known["schema"], known["profile"])


def _sync_ticket_file(store: Store, run: Run, ticket: Path) -> None:
    sha256 = sha256_of(ticket)
    if run.data.tags.get(SHA256) != sha256:
        store.client.log_artifact(run.info.run_id, str(ticket))
        store.client.set_tag(run.info.run_id, SHA256, sha256)


def _sync_sharing(store: Store, run: Run, facts: TicketFacts) -> None:
    """Log the picture of who uses whose weights, for a ticket of several requirements."""
    drawn = sharing_picture(facts)
    digest = hashlib.sha256(drawn.encode()).hexdigest()
    if drawn and run.data.tags.get(SHARING) != digest:
        store.client.log_text(run.info.run_id, drawn, "sharing.svg")
        store.client.set_tag(run.info.run_id, SHARING, digest)


def _sync_pictures(store: Store, run: Run, facts: TicketFacts) -> None:
    """Log before/after pictures to the image grid; a changed set is a further step of the grid."""
    digest, last = facts.pictures_digest, run.data.tags.get(PICTURES)
    if not facts.pictures or (last and last.endswith(digest)):
        return
    known = re.match(r"\d{1,9}(?= |$)", last or "")  # a store says what it likes
    step = int(known[0]) + 1 if known else 0
    there = [Path(entry.path).name for entry in store.client.list_artifacts(run.info.run_id, "images")]
    for key, strip_HWC in facts.strips():
        key = re.sub(r"[^\w./ -]", "_", key, flags=re.ASCII)
        begin = f"{key.replace('/', '~')}+step+{step}+"
        if not any(name.startswith(begin) for name in there):  # an import that was interrupted goes on
            store.client.log_image(run.info.run_id, strip_HWC, key=key, step=step, synchronous=True)
    store.client.set_tag(run.info.run_id, PICTURES, f"{step} {digest}")


def _sync_report(store: Store, parent: Run, report: Path) -> None:
    paths = sorted(path for path in report.rglob("*") if path.is_file())
    digest = hashlib.sha256("".join(f"{path.name}{sha256_of(path)}" for path in paths).encode()).hexdigest()
    if paths and parent.data.tags.get(REPORT) != digest:
        store.client.log_artifacts(parent.info.run_id, str(report), "report")
        store.client.set_tag(parent.info.run_id, REPORT, digest)
    if parent.info.status != "FINISHED":
        store.client.set_terminated(parent.info.run_id)


def git_revision(root: Path) -> str:
    """Return the commit of the working tree, or an empty string if there is none."""
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() if asked.returncode == 0 else ""
