"""Lotteries on workers: real processes, one Prefect server, two machines that share nothing but git and a remote."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelling, Crashed, Pending, Running, Scheduled
from prefect.testing.utilities import prefect_test_harness

from flows.orchestration import deployments, dispatch, heartbeat, results
from flows.orchestration.dispatch import _waits_for
from flows.orchestration.flow import Source, lottery
from flows.orchestration.heartbeat import LOST
from flows.orchestration.lock_store import LockArtifact
from tests.flows.orchestration import pipelines
from tests.flows.orchestration.machines import PATIENCE_SECONDS, make_slow_repository, slow_words
from tests.flows.orchestration.machines import until as wait_until

Begin = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=90):
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_slow_repository(tmp_path_factory.mktemp("cluster"))
    deployments.register(Source(repository=str(root)))
    return root


@pytest.fixture(scope="module")
def workers(root: Path, empty_store: Path) -> Iterator[Begin]:
    """Begins a worker of a pool, as a machine of its own; all end with the tests."""
    running: list[subprocess.Popen[bytes]] = []
    store = root.parent / "mlflow.db"
    store.write_bytes(empty_store.read_bytes())

    def begin(pool: str) -> "subprocess.Popen[bytes]":
        environment = os.environ | {
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "MIRL_HOME": str(root.parent / f"machine-{len(running)}"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{store}",
        }
        command = [sys.executable, "-m", "flows.orchestration.deployments", "worker", pool]
        log = (root.parent / f"worker-{len(running)}.log").open("wb")
        running.append(
            subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        )
        return running[-1]

    for pool in ("control", "gpu", "cpu"):
        begin(pool)
    yield begin
    for process in running:
        with_group(process, signal.SIGKILL)


def with_group(process: "subprocess.Popen[bytes]", number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    process.wait()


def start(pool: str, flow: str = "lottery", **asked: Any) -> FlowRun:
    run = run_deployment(f"{flow}/{pool}", parameters=asked, timeout=0)
    assert isinstance(run, FlowRun)
    return run


def ended(run: FlowRun) -> FlowRun:
    until = time.monotonic() + PATIENCE_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < until:
            run = client.read_flow_run(run.id)
            if run.state is not None and run.state.is_final():
                return run
            time.sleep(0.5)
    raise AssertionError(f"{run.name} is still {run.state_name}")


def noted(root: Path) -> list[str]:
    path = root.parent / "log"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def waiting(root: Path, name: str) -> Iterator[None]:
    """While it lasts, the training `name` waits."""
    sign = root.parent / f"wait-{name}"
    sign.touch()
    try:
        yield
    finally:
        sign.unlink()


def test_two_lotteries_at_once_train_each_stage_once(root: Path, workers: Begin) -> None:
    runs = [start("gpu"), start("gpu")]
    for run in map(ended, runs):
        assert run.state is not None and run.state.is_completed(), run.state
    assert sorted(noted(root)) == ["dense", "r1", "r2"]
    assert results.bring(root) == (8, 8) and len(LockArtifact("words").load()) == 8
    assert pipelines.run(root, "dvc", "status") == "Data and pipelines are up to date."
    assert (root / "made" / "r2" / "word").read_text() == "word\ndense\nr1\nr2\n"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({}, "report/decision.json"),  # this pipeline decides nothing
        ({"rollback": True}, "no champion to roll back from"),
        ({"study": "wrods"}, "there is no study 'wrods'"),
    ],
)
def test_a_promotion_says_why_there_is_none(
    root: Path, workers: Begin, asked: dict[str, Any], sentence: str
) -> None:
    run = ended(start("cpu", "promote", **asked))
    assert run.state is not None and run.state.is_failed() and sentence in (run.state.message or ""), (
        run.state
    )


def test_cancelling_a_lottery_ends_its_training(root: Path, workers: Begin) -> None:
    with waiting(root, "r1"):
        run = start("gpu", overrides={"arms.global.fraction": 0.11})
        until = time.monotonic() + PATIENCE_SECONDS
        while noted(root)[-1:] != ["r1"] and time.monotonic() < until:
            time.sleep(0.2)
        assert noted(root)[-1:] == ["r1"]
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Cancelling())
        assert ended(run).state_name == "Cancelled"
        until = time.monotonic() + 60
        while _sleeping(root) and time.monotonic() < until:
            time.sleep(0.2)
        assert not _sleeping(root)


def _sleeping(root: Path) -> bool:
    return subprocess.run(["pgrep", "-f", "link.sh r1"], check=False, capture_output=True).returncode == 0


def begin_slow(root: Path, fraction: float) -> tuple[FlowRun, str, str]:
    """A lottery in the middle of a training that waits for a sign; also the processes of its stage and its DVC."""
    place = root.parent
    (place / "slow-r2").touch()
    (place / "slow-log").unlink(missing_ok=True)
    run = start("gpu", overrides={"arms.global.fraction": fraction}, targets=["link@r2"])
    wait_until(lambda: slow_words(place), "the training")
    _, stage, dvc = (place / "slow-log").read_text().split()
    return run, stage, dvc


def crash_slow(message: str) -> FlowRun:
    """Mark the run of that training as crashed, as the automation does where a machine falls silent."""
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                name=FlowRunFilterName(any_=["link r2"]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])),
            ),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
        client.set_flow_run_state(run.id, Crashed(message=message), force=False)
        return run


def test_a_machine_that_was_thought_lost_says_that_it_lives(root: Path, workers: Begin) -> None:
    """As after a restart of Prefect's server: for a while it had no sign of heartbeat of anybody."""
    run, _, _ = begin_slow(root, 0.15)
    crashed = crash_slow(LOST)
    until = time.monotonic() + PATIENCE_SECONDS
    with get_client(sync_client=True) as client:
        while (state := client.read_flow_run(crashed.id).state) is None or not state.is_running():
            assert time.monotonic() < until
            time.sleep(0.5)
    (root.parent / "slow-r2").unlink()
    run = ended(run)
    assert run.state is not None and run.state.is_completed(), run.state
    assert slow_words(root.parent) == ["begun", "ended"]


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("lost", ["engine", "worker", "run"])
def test_a_stage_that_is_lost_is_begun_again_and_never_beside_itself(
    root: Path, workers: Begin, lost: str
) -> None:
    place = root.parent
    fraction = {"engine": 0.12, "run": 0.13, "worker": 0.14}[lost]
    run, stage, dvc = begin_slow(root, fraction)
    if lost == "engine":
        os.kill(parent(int(dvc)), signal.SIGKILL)
    elif lost == "worker":
        os.kill(parent(parent(int(dvc))), signal.SIGKILL)
        workers("gpu")
    else:
        crash_slow("its machine was cut off, and another has its work")
    until = time.monotonic() + PATIENCE_SECONDS
    while (place / "slow-log").read_text().count("begun") < 2:
        assert time.monotonic() < until
        time.sleep(0.2)
    (place / "slow-r2").unlink()
    run = ended(run)
    assert run.state is not None and run.state.is_completed(), run.state
    words = [line.split() for line in (place / "slow-log").read_text().splitlines()]
    assert [word for word, *_ in words] == ["begun", "ended", "begun", "ended"]
    assert words[0][1] == words[1][1] == stage != words[2][1]
    assert not Path(f"/proc/{stage}").exists()


def test_a_run_that_its_worker_never_begins_is_given_up(
    root: Path, workers: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "BEGIN_SECONDS", 2.0)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(lottery, state=Pending())
        run = dispatch.PoolRunner("gpu", "cpu", lambda work, done: True)._wait(run, "gpu", print)
    assert run.state is not None and run.state.is_crashed(), run.state


def test_what_a_queued_run_waits_for_is_said(root: Path, workers: Begin) -> None:
    with get_client(sync_client=True) as client:
        deployments._pool(client, "empty", "nobody")
        run = client.create_flow_run(lottery, state=Scheduled())
        assert _waits_for(client, run, "empty", mine=True) == (
            "a worker: none serves the pool empty; start one: `make worker POOL=empty`"
        )
        until = time.monotonic() + PATIENCE_SECONDS
        while "none serves" in _waits_for(
            client, run, "gpu", mine=True
        ):  # it has not said yet that it is there
            assert time.monotonic() < until
            time.sleep(0.5)
        assert _waits_for(client, run, "gpu", mine=True) == "a free worker of the pool gpu"


def test_a_silent_run_is_given_a_heartbeat_that_is_not_taken_for_a_sign_of_life(
    root: Path, workers: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("lottery/gpu")
        run = client.create_flow_run_from_deployment(deployment.id, state=Running())
        assert run.id in [other.id for other in heartbeat.working(client)]
        heartbeat.give_heartbeats(client, [run.id], {heartbeat.HOST: "machine-9"})
        wait_until(lambda: heartbeat.read_heartbeats(client, run)[0], "the heartbeat")
        monkeypatch.setattr(heartbeat, "FORGOTTEN_SECONDS", -1.0)
        monitor = heartbeat.SilenceMonitor()
        monitor.check(client)
        monitor.check(client)
        wait_until(lambda: len(heartbeat.read_heartbeats(client, run)[0]) > 1, "the one that is given")
        (given, own), now = heartbeat.read_heartbeats(client, run)
        assert heartbeat.HOST not in given["resource"] and own["resource"][heartbeat.HOST] == "machine-9"
        assert abs((now - datetime.now(UTC)).total_seconds()) < 60
        assert "on machine-9, Running since 20" in _waits_for(client, run, "gpu", mine=True)
        client.set_flow_run_state(run.id, Cancelling())
        client.set_flow_run_state(
            run.id, Crashed(message=LOST), force=False
        )  # as the automation tries in vain
        assert client.read_flow_run(run.id).state_name == "Cancelling"
        wait_until(  # heartbeats of others may still come
            lambda: (monitor.check(client), client.read_flow_run(run.id).state_name)[1] == "Cancelled",
            "its end",
        )
        assert run.id not in [other.id for other in heartbeat.working(client)]


def test_a_repository_that_is_a_command_is_not_registered(capsys: pytest.CaptureFixture[str]) -> None:
    assert deployments.main(["register", "--repository", "ext::sh -c x"]) == 2
    assert "expected a folder, or an address" in capsys.readouterr().err
