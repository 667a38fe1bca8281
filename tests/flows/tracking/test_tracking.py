"""Tracking against a real MLflow on an SQLite file."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run

from flows import tracking
from flows.tracking.__main__ import main
from flows.tracking.runs import FINGERPRINT, STUDY, StudyRuns
from flows.tracking.store import Store
from mirl.config import Stopped, UserError
from mirl.records import TrainRecord

Make = Callable[..., Path]
SUMMARY = {
    "density/prunable", "density/all", "psnr_db/mean", "psnr_db/denoise_15", "psnr_db/derain", "ssim/mean",
    "ssim/denoise_15", "ssim/derain", "params/kept", "macs_g", "ticket_mb", "train_seconds",
}  # fmt: skip


def record(step: int, loss: float = 0.1) -> TrainRecord:
    return TrainRecord(step=step, loss=loss, learning_rate=1e-3, gradient_norm=1.0)


def runs_of(root: Path) -> StudyRuns:
    return StudyRuns(Store(root), "tiny")


def the_run(root: Path) -> Run:
    (run,) = runs_of(root).tickets()
    return run


def steps_of(root: Path, run: Run) -> list[int]:
    return [point.step for point in Store(root).client.get_metric_history(run.info.run_id, "train/loss")]


# --- sync ---


def test_a_ticket_from_the_cache_gets_a_whole_run(
    root: Path, make_ticket: Make, make_scores: Make, make_report: Make
) -> None:
    folder = make_ticket()
    make_scores()
    make_report("global-r1")
    (synced,) = tracking.sync(root)
    assert synced.what == "made"
    run, client = the_run(root), Store(root).client
    assert run.info.status == "FINISHED"
    assert set(run.data.metrics) >= SUMMARY
    assert run.data.metrics["psnr_db/mean"] == 30.0
    wanted = {"round": "2", "fraction": "0.3", "seed": "3", "rewind_step": "4", "train.batches.batch": "8"}
    assert wanted.items() <= run.data.params.items()
    wanted |= {"train.clip_norm": "1.0", "arm.floor": "0.0"}  # defaults too
    words = {"method": "imp", "scope": "global", "arm": "global", "name": "global-r1", "dataset": "d" * 64}
    words |= {"verdict": "wins", "winning": "yes", "collapse": "none", "imported": "yes"}
    assert words.items() <= run.data.tags.items()
    assert steps_of(root, run) == [10, 20, 30, 40]
    assert run.inputs
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    names = {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert names == {"ticket.safetensors", "images"}
    stored = client.download_artifacts(run.info.run_id, "ticket.safetensors")
    assert Path(stored).read_bytes() == (folder / "ticket.safetensors").read_bytes()


def test_the_study_is_the_parent_and_carries_the_report(
    root: Path, make_ticket: Make, make_report: Make
) -> None:
    make_ticket()
    make_report(None)
    tracking.sync(root)
    parent, client = runs_of(root).parent(), Store(root).client
    assert the_run(root).data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.tags[STUDY] == "tiny"
    assert parent.info.status == "FINISHED"
    assert "report/index.html" in {
        entry.path for entry in client.list_artifacts(parent.info.run_id, "report")
    }
    assert client.get_experiment(parent.info.experiment_id).name == "mirl/tiny"


def test_syncing_again_changes_nothing(
    root: Path, make_ticket: Make, make_scores: Make, make_report: Make
) -> None:
    make_ticket("dense", fingerprint="a" * 64)
    make_ticket()
    make_scores()
    make_report(None)
    first = tracking.sync(root)
    before = contents(root)
    again = tracking.sync(root)
    assert [ticket.what for ticket in again] == ["there", "there"]
    assert [ticket.run_id for ticket in again] == [ticket.run_id for ticket in first]
    assert contents(root) == before


def test_a_ticket_that_is_there_is_not_looked_at_twice(
    root: Path, make_ticket: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ticket()
    tracking.sync(root)
    monkeypatch.setattr("flows.tracking.importing.TicketRun", None)  # whoever looks closer needs it
    assert tracking.sync(root)[0].what == "there"


def test_scores_that_come_later_complete_the_run_without_doubling_it(
    root: Path, make_ticket: Make, make_scores: Make
) -> None:
    make_ticket()
    tracking.sync(root)
    assert "psnr_db/mean" not in the_run(root).data.metrics
    make_scores()
    assert tracking.sync(root)[0].what == "completed"
    run = the_run(root)
    assert run.data.metrics["psnr_db/mean"] == 30.0
    assert steps_of(root, run) == [10, 20, 30, 40]
    client = Store(root).client
    assert len(client.get_metric_history(run.info.run_id, "density/all")) == 1


def test_pictures_are_logged_once_and_a_changed_set_is_the_next_step(
    root: Path, make_ticket: Make, make_scores: Make
) -> None:
    make_ticket()
    make_scores()
    tracking.sync(root)
    client, run = Store(root).client, the_run(root)

    def grid() -> list[str]:
        paths = [Path(entry.path).name for entry in client.list_artifacts(run.info.run_id, "images")]
        return sorted(path.split("+timestamp")[0] for path in paths if path.endswith(".png"))

    assert grid() == ["denoise_15~a+step+0", "derain~a+step+0"]
    client.delete_tag(run.info.run_id, "mirl.pictures")  # an import that was cut off after its last picture
    client.delete_tag(run.info.run_id, "mirl.imported")
    tracking.sync(root)
    assert len(grid()) == 2
    make_scores(psnr_db=31.0)  # other pictures
    tracking.sync(root)
    assert grid()[1] == "denoise_15~a+step+1"
    assert len(grid()) == 4


def test_an_interrupted_import_is_completed(
    root: Path, make_ticket: Make, make_scores: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ticket()
    make_scores()
    with monkeypatch.context() as patch:
        patch.setattr("flows.tracking.importing._sync_pictures", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tracking.sync(root)
    assert tracking.sync(root)[0].what == "completed"
    assert the_run(root).info.status == "FINISHED"
    assert steps_of(root, the_run(root)) == [10, 20, 30, 40]


def test_tickets_of_another_study_that_lie_around_stay_out(root: Path, make_ticket: Make) -> None:
    make_ticket()
    make_ticket("stale")
    assert [ticket.name for ticket in tracking.sync(root)] == ["global-r1"]


def test_the_command_answers_in_words(
    root: Path, make_ticket: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    make_ticket()
    assert main(["sync"]) == 0
    assert "1 made" in capsys.readouterr().out
    assert main(["sync", "nowhere"]) == 2
    said = capsys.readouterr().err
    assert "nowhere" in said
    assert "global-r1" in said
    (root / "tickets/global-r1/ticket.safetensors").write_bytes(b"broken")
    assert main(["sync"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_server_that_is_down_is_said_in_words(
    root: Path, make_ticket: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ticket()
    nobody(monkeypatch)
    with pytest.raises(UserError, match="MLflow at http://127"):
        tracking.sync(root)


# --- the live sink ---


def test_training_shows_live_and_the_import_adds_to_the_same_run(root: Path, make_ticket: Make) -> None:
    sink = tracking.ticket_sink("f" * 64, "global-r1", "tiny")
    for step in (10, 20):
        sink.log(record(step))
    sink.close()
    run = the_run(root)
    assert run.data.tags[FINGERPRINT] == "f" * 64
    assert run.info.status == "FINISHED"
    assert steps_of(root, run) == [10, 20]
    make_ticket()
    (synced,) = tracking.sync(root)
    assert (synced.what, synced.run_id) == ("completed", run.info.run_id)
    assert steps_of(root, run) == [10, 20, 30, 40]
    assert the_run(root).data.tags["imported"] == "no"


def test_a_resumed_training_logs_no_step_twice(root: Path) -> None:
    for steps in ((10, 20, 30), (20, 30, 40)):  # the checkpoint is older than the last record
        sink = tracking.ticket_sink("f" * 64, "global-r1", "tiny")
        for step in steps:
            sink.log(record(step))
        sink.close()
    assert steps_of(root, the_run(root)) == [10, 20, 30, 40]


@pytest.mark.parametrize(("error", "status"), [(Stopped("later"), "KILLED"), (ValueError("bug"), "FAILED")])
def test_a_training_that_ends_early_says_so(root: Path, error: Exception, status: str) -> None:
    sink = tracking.ticket_sink("f" * 64, "global-r1", "tiny")
    with pytest.raises(type(error)):
        try:
            raise error
        finally:
            sink.close()
    assert the_run(root).info.status == status


def test_a_server_that_is_down_costs_training_one_line_and_no_time(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody(monkeypatch)
    sink = tracking.ticket_sink("f" * 64, "global-r1", "tiny")
    begun = time.monotonic()
    for step in range(1000):
        sink.log(record(step))
    assert time.monotonic() - begun < 0.5
    sink.close()
    assert time.monotonic() - begun < 10
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "flows.tracking sync" in said


def test_the_embedded_store_lies_in_the_study_whatever_the_folder(
    root: Path, make_ticket: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_ticket()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    tracking.sync(Path("..") / "study")
    assert list(elsewhere.iterdir()) == []
    assert the_run(root).info.artifact_uri.startswith((root / "mlartifacts").as_uri())


def test_importing_the_door_does_not_import_mlflow() -> None:
    program = "import sys, flows.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- helpers of this file ---


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point MLflow to a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def contents(root: Path) -> tuple[object, ...]:
    """Everything in the store that a second import could double."""
    client, found = Store(root).client, []
    for run in [runs_of(root).parent(), *runs_of(root).tickets()]:
        pictures = {entry.path for entry in client.list_artifacts(run.info.run_id, "images")}
        curves = [len(client.get_metric_history(run.info.run_id, key)) for key in sorted(run.data.metrics)]
        found.append((run.to_dictionary(), pictures, curves))
    return tuple(found)
