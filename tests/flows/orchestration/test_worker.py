"""What a worker is begun with."""

import os
import signal
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from flows.orchestration import deployments


class Exec(Exception):
    """Stands for the program that takes this one's place."""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of the worker that is begun, once it is."""
    given: dict[str, str] = {}
    there = SimpleNamespace(read_work_pools=lambda limit: [])  # Prefect's server lets it in
    monkeypatch.setattr(deployments, "reached", lambda root: nullcontext())
    monkeypatch.setattr(deployments, "get_client", lambda **how: nullcontext(there))

    def execve(program: str, command: list[str], values: Any) -> None:
        given.update(values)
        raise Exec

    monkeypatch.setattr(os, "execve", execve)
    return given


def test_a_worker_that_a_script_began_in_the_background_can_be_interrupted(
    environment: dict[str, str],
) -> None:
    """A shell has SIGINT ignored by `worker &`; Prefect's worker, told to end by SIGTERM, ends by SIGINT."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(Exec):
            deployments.worker("cpu")
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
    assert environment["MIRL_WORKER_PID"] == str(os.getpid())


def test_how_often_a_worker_asks_can_be_set(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "7")
    with pytest.raises(Exec):
        deployments.worker("cpu")
    assert environment["PREFECT_WORKER_QUERY_SECONDS"] == "7"
    signal.signal(signal.SIGINT, signal.default_int_handler)
