"""Prefect's own commands against a server that asks for a login: those that README.md names, and the usual ones."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect._internal import observers
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    get_current_settings,
    temporary_settings,
)
from prefect.states import Cancelling, Running
from prefect.testing.cli import CycloptsCliRunner

from flows.orchestration import artifacts, deployments
from flows.orchestration.flow import Source
from flows.orchestration.servers import temporary
from tests.documented import ROOT, commands, environment


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The server of a lottery on this machine, with our deployments and a table."""
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch, temporary_settings(restore_defaults={PREFECT_API_URL}):
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        with temporary(folder):
            deployments.register(Source(repository=str(folder)))
            artifacts.keep_table("table", [{"ticket": "dense", "psnr_db": 30.0}], "of a test")
            yield


@pytest.fixture(scope="module")
def run(server: None) -> FlowRun:
    begun = run_deployment("lottery/cpu", timeout=0)
    assert isinstance(begun, FlowRun)
    return begun


def test_what_was_kept_is_read_with_the_clients_own_call(server: None) -> None:
    assert artifacts.kept("table") == [{"ticket": "dense", "psnr_db": 30.0}]
    assert artifacts.kept("nothing") is None


def test_the_server_of_a_local_lottery_lets_no_stranger_in(server: None) -> None:
    url = PREFECT_API_URL.value()
    for headers in ({}, {"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        for path in ("flows/filter", "flows/", "deployments/filter"):
            assert (
                httpx.post(f"{url}/{path}", content=b'{"name": "evil"}', headers=headers).status_code == 401
            )


def test_every_command_of_the_readme_works(server: None, tmp_path: Path) -> None:
    lines = commands("prefect")
    assert len(lines) >= 3, lines
    known = environment(**get_current_settings().to_environment_variables(exclude_unset=True))
    known |= {"PREFECT_API_AUTH_STRING": PREFECT_API_AUTH_STRING.value()}

    def shell(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-euc", line], cwd=tmp_path, env=known, capture_output=True, text=True, check=False
        )

    with ThreadPoolExecutor(2) as pool:
        for line, done in zip(lines, pool.map(shell, lines), strict=True):
            assert done.returncode == 0 and "Traceback" not in done.stderr, (line, done.stdout, done.stderr)


def test_without_an_address_no_open_server_is_begun() -> None:
    alone = {name: value for name, value in environment().items() if not name.startswith("PREFECT_")}
    for command in (
        ["prefect", "flow", "ls"],
        [sys.executable, "-m", "flows.orchestration.deployments", "register"],
    ):
        done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
        assert done.returncode, done.stdout
        assert "No Prefect API URL" in done.stderr or "PREFECT_API_URL is not set" in done.stderr, done.stderr


USUAL = [
    "artifact inspect table",
    "artifact ls",
    "automation ls",
    "block ls",
    "block type ls",
    "concurrency-limit ls",
    "config view",
    "deployment inspect lottery/cpu",
    "deployment ls",
    "deployment schedule ls lottery/cpu",
    "flow ls",
    "flow-run inspect RUN",
    "flow-run logs RUN",
    "flow-run ls",
    "global-concurrency-limit ls",
    "task-run ls",
    "variable ls",
    "version",
    "work-pool inspect control",
    "work-pool ls",
    "work-pool preview control",
    "work-queue inspect default --pool control",
    "work-queue ls --pool control",
    "flow-run cancel RUN",
    "flow-run delete RUN",
]


@pytest.mark.parametrize("line", USUAL)
def test_the_usual_commands_work(run: FlowRun, line: str) -> None:
    result = CycloptsCliRunner().invoke(["--no-prompt", *line.replace("RUN", str(run.id)).split()])
    assert result.exit_code == 0 and "Traceback" not in result.output, result.output
    assert result.output.strip() or "logs" in line  # a run that nobody took has none


class _Broken:
    """A subscription to events whose connection is lost at once."""

    def __aiter__(self) -> "_Broken":
        return self

    async def __anext__(self) -> Any:
        raise ConnectionError("the socket was lost")


@asynccontextmanager
async def _subscribed(*_: Any, **__: Any) -> AsyncIterator[_Broken]:
    yield _Broken()


def test_a_worker_without_its_socket_still_sees_that_a_run_is_cancelled(
    server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = run_deployment("lottery/cpu", timeout=0)
    assert isinstance(begun, FlowRun)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(begun.id, Running(), force=True)
        client.set_flow_run_state(begun.id, Cancelling())
    monkeypatch.setattr(observers, "get_events_subscriber", _subscribed)
    seen: list[UUID] = []
    failed: list[set[UUID]] = []

    async def observe() -> None:
        begin: Any = observers.FlowRunCancellingObserver  # it names the parameters of what it calls
        observer = begin(seen.append, 0.1, on_failure=failed.append)
        observer.add_in_flight_flow_run_id(begun.id)
        async with observer:
            until = time.monotonic() + 60
            while not seen and not failed:
                assert time.monotonic() < until
                await asyncio.sleep(0.05)

    asyncio.run(observe())
    assert seen[:1] == [begun.id] and not failed
