"""What hostile clients and lost processes may cost: memory, log, time; and who is still served meanwhile."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirl.tickets import writing
from tests.serve.conftest import Server, encoded, noise, post, resident_kib, restoring_process, wait_until

MIB = 1024
SMALL = encoded(noise(8, 8))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "log"


@pytest.fixture(scope="module")
def small(start: Callable[..., Server], log: Path) -> Server:
    """A server that may open as many files as usual."""
    with log.open("w") as file:
        return start("--queue", "2", "--memory", "500M", log=file, files=1024)


@contextlib.contextmanager
def stopped(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def silent(server: Server, count: int) -> list[socket.socket]:
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((server.host, server.port))
        clients.append(client)
    return clients


def answered(server: Server, path: str, within: float = 15) -> None:
    began = time.monotonic()
    assert server.ask(path).status == 200
    assert time.monotonic() - began < within


def test_clients_that_hang_up_leave_nothing_behind(small: Server) -> None:
    size, before = 19 * 2**20, resident_kib(small.process.pid)
    with stopped(restoring_process(small)), small.open() as first:  # so that all wait behind the first
        first.sendall(post(SMALL))
        wait_until(lambda: small.metrics()["mirl_slots_taken"] == 1)
        for sent in [size] * 12 + [size // 2] * 12:
            with small.open() as client:
                client.sendall(post(bytes(sent), size))
                wait_until(lambda: small.metrics()["mirl_slots_taken"] == 2)
            wait_until(lambda: small.metrics()["mirl_slots_taken"] == 1)
            assert resident_kib(small.process.pid) - before < 100 * MIB
        assert small.metrics()["mirl_queue_length"] <= 1
    wait_until(lambda: small.ask("/ready").status == 200)
    assert small.restore(SMALL).status == 200


def test_an_abandoned_picture_is_given_up_between_tiles(start: Callable[..., Server]) -> None:
    server = start("--memory", "200M", "--max-pixels", "6M")
    picture = encoded(np.zeros((2000, 2900, 3), np.uint8))
    assert server.restore(picture).status == 200
    before = server.metrics()
    with server.open() as client:
        client.sendall(post(picture))
        wait_until(
            lambda: server.metrics()["mirl_wait_seconds_count"] == before["mirl_wait_seconds_count"] + 1
        )
    assert server.restore(SMALL).status == 200
    after = server.metrics()
    assert after["mirl_restarts_total"] == before["mirl_restarts_total"]  # the process goes on
    assert after["mirl_pixels_total"] - before["mirl_pixels_total"] == 64


@pytest.mark.parametrize("count", [810, 1100, 3000])
def test_silent_connections_keep_nobody_out(count: int, small: Server, log: Path) -> None:
    before = resident_kib(small.process.pid)
    clients = silent(small, count)
    try:
        for path in ("/health", "/ready") * 3:
            answered(small, path)
        assert small.restore(SMALL).status == 200
        assert len(list(Path(f"/proc/{small.process.pid}/fd").iterdir())) < 900
        assert resident_kib(small.process.pid) - before < 50 * MIB
    finally:
        for client in clients:
            client.close()
    assert log.stat().st_size < 1000


def test_connections_that_are_kept_busy_keep_nobody_out(small: Server, log: Path) -> None:
    """They ask much and take nothing, or begin a request, or end it in the middle."""
    before = resident_kib(small.process.pid)
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200
    begun = (
        b"POST /restore HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\n1"
    )
    broken = b"POST /restore HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"
    clients = []
    for number in range(700):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((small.host, small.port))
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            client.send((asked, begun, b"GET / HTTP/1.1\r\nX", broken)[number % 4])
        if number % 4 == 1:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
        clients.append(client)
    try:
        answered(small, "/health", within=5)
        answered(small, "/ready", within=5)
        assert small.restore(SMALL).status == 200
        assert resident_kib(small.process.pid) - before < 150 * MIB
    finally:
        for client in clients:
            client.close()
    wait_until(lambda: small.metrics()["mirl_slots_taken"] == 0)
    assert log.stat().st_size < 1000


def test_a_picture_that_waits_is_not_cut_for_those_who_come(small: Server) -> None:
    with stopped(restoring_process(small)), small.open() as patient:
        patient.sendall(post(SMALL))
        wait_until(lambda: small.metrics()["mirl_slots_taken"] == 1)
        clients = silent(small, 1500)
        answered(small, "/health")
        assert small.metrics()["mirl_slots_taken"] == 1
        for client in clients:
            client.close()
        os.kill(restoring_process(small), signal.SIGCONT)
        assert patient.recv(65536).startswith(b"HTTP/1.1 200")


def test_few_files_are_enough_and_too_few_are_said(
    start: Callable[..., Server], nothing: Path, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w") as file:
        server = start("--queue", "16", log=file, files=256)
    clients = silent(server, 600)
    answered(server, "/health")
    for client in clients:
        client.close()
    assert not (tmp_path / "log").read_text()
    command = ["prlimit", "--nofile=100:100", sys.executable, "-m", "mirl.command.main", "serve"]
    done = subprocess.run([*command, "--port", "0", "--ticket", str(nothing)], capture_output=True, text=True)
    assert done.returncode == 2 and "raise `ulimit -n`" in done.stderr and done.stderr.count("\n") == 1


def test_a_process_that_is_stopped_is_noticed_and_replaced(small: Server) -> None:
    lost = restoring_process(small)
    os.kill(lost, signal.SIGSTOP)
    began = time.monotonic()
    answer = small.restore(SMALL + bytes(5 * 2**20))  # more than a pipe holds
    assert answer.status == 503 and "begun again" in answer.error
    wait_until(lambda: small.ask("/ready").status == 200, 60)
    assert time.monotonic() - began < 60  # its time limit
    assert restoring_process(small) != lost
    assert small.restore(SMALL).status == 200


def test_an_idle_process_that_is_stopped_is_noticed(small: Server) -> None:
    os.kill(restoring_process(small), signal.SIGSTOP)
    wait_until(lambda: small.ask("/ready").status == 503, 40)
    wait_until(lambda: small.ask("/ready").status == 200, 60)


def test_another_ticket_than_at_the_start_is_refused(
    start: Callable[..., Server], nothing: Path, make_ticket: Callable[[], Any], tmp_path: Path
) -> None:
    ticket, kept = tmp_path / "ticket.safetensors", tmp_path / "kept"
    shutil.copy(nothing, ticket)
    shutil.copy(nothing, kept)
    with (tmp_path / "log").open("w") as file:
        server = start(ticket=ticket, log=file)
    writing.write(make_ticket(), tmp_path / "other")
    (tmp_path / "other").replace(ticket)
    os.kill(restoring_process(server), signal.SIGKILL)
    wait_until(lambda: json.loads(server.ask("/ready").body)["status"] == "failing", 60)
    assert server.ask("/ready").status == 503 and "cannot be loaded" in server.ask("/ready").body.decode()
    answer = server.restore(SMALL)
    assert answer.status == 503 and "nothing is restored" in answer.error
    assert str(tmp_path) not in answer.error
    assert "was replaced" in (tmp_path / "log").read_text()
    kept.replace(ticket)
    wait_until(lambda: server.ask("/ready").status == 200, 60)
    assert server.restore(SMALL).status == 200


def test_it_stops_while_it_is_flooded(start: Callable[..., Server], tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        server = start("--timeout", "60", log=file)
    clients = silent(server, 1500)
    os.kill(restoring_process(server), signal.SIGSTOP)
    began = time.monotonic()
    server.process.terminate()
    clients += silent(server, 500)
    assert server.process.wait(60) == -signal.SIGTERM
    assert time.monotonic() - began < 45
    assert not (tmp_path / "log").read_text()
    for client in clients:
        client.close()
