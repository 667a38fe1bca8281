"""A real MLflow server that is away while a study trains."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from flows import tracking
from flows.tracking.runs import StudyRuns
from flows.tracking.store import Store
from mirl.config import UserError
from mirl.records import TrainRecord

STEPS = range(10, 50, 10)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A free port, which the environment names as that of MLflow's server."""
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        free = int(asking.getsockname()[1])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free}")
    for name, value in tracking._IMPATIENT.items():
        monkeypatch.setenv(name, value)
    return free


@contextmanager
def served(port: int, store: Path) -> Iterator[None]:
    """MLflow's server; at the end it is killed."""
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{store}",
        "--artifacts-destination",
        str(store.parent / "far"),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    with store.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < until, store.with_suffix(".log").read_text()[
                -2000:
            ]
            with suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def train(fingerprint: str, name: str, half_way: Callable[[], None] = lambda: None) -> None:
    """What a stage does: open a sink, log, close."""
    sink = tracking.ticket_sink(fingerprint, name, "tiny")
    for step in STEPS:
        if step == STEPS[len(STEPS) // 2]:
            half_way()
        sink.log(TrainRecord(step=step, loss=1 / step, learning_rate=1e-3, gradient_norm=2.0))
    sink.close()


def test_mlflow_is_down_for_the_middle_third_and_the_next_command_completes_the_runs(
    root: Path, port: int, make_ticket: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"dense": "a" * 64, "global-r1": "b" * 64, "global-r2": "c" * 64}
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["rounds"]["global-r2"] = {"arm": "global", "after": "global-r1"}
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (first, second, third), store = names, root / "mlflow.db"

    def trained(name: str) -> None:
        train(names[name], name)
        make_ticket(name, names[name])

    with served(port, store):
        trained(first)
    trained(second)
    with pytest.raises(UserError, match="start that server"):
        tracking.sync(root)
    assert capsys.readouterr().err.count(f"{second} is not tracked while it trains") == 1
    with served(port, store):
        trained(third)
        assert [done.what for done in tracking.sync(root)] == ["completed", "made", "completed"]
        assert [done.what for done in tracking.sync(root)] == ["there"] * 3
        client, runs = Store(root).client, StudyRuns(Store(root), "tiny").tickets()
        assert {run.data.tags["name"] for run in runs} == set(names) and len(runs) == 3
        for run in runs:
            assert run.info.status == "FINISHED" and run.data.metrics["density/prunable"] == 0.7
            assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == [
                *STEPS
            ]
            assert "ticket.safetensors" in {file.path for file in client.list_artifacts(run.info.run_id)}


def test_a_server_that_dies_in_the_middle_of_a_training_costs_nothing(
    root: Path, port: int, make_ticket: Callable[..., Path]
) -> None:
    store, servers = root / "mlflow.db", served(port, root / "mlflow.db")
    servers.__enter__()
    train("a" * 64, "dense", lambda: servers.__exit__(None, None, None) and None)  # type: ignore[arg-type]  # what it returns is left
    make_ticket("dense", "a" * 64)
    with served(port, store):
        tracking.sync(root)
        (run,) = StudyRuns(Store(root), "tiny").tickets()
        history = Store(root).client.get_metric_history(run.info.run_id, "train/loss")
        assert run.info.status == "FINISHED" and [point.step for point in history] == [*STEPS]
