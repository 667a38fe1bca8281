"""Real servers, in processes of their own, with a ticket that changes nothing."""

import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

from mirl.tickets import writing

STOPPED = (-signal.SIGTERM, -signal.SIGKILL)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def error(self) -> str:
        """The sentence of an answer that is one."""
        said = json.loads(self.body)
        assert set(said) == {"error"} and "\n" not in said["error"]
        return str(said["error"])


@dataclass(frozen=True)
class Server:
    """A running `mirl serve`."""

    process: subprocess.Popen[str]
    host: str
    port: int

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ask(
        self, path: str, body: bytes | Iterable[bytes] | None = None, method: str = "", **headers: str
    ) -> Answer:
        """A GET, or with a body a POST; header names with _ for -. An iterable body is sent in chunks."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, named)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def restore(self, picture: bytes, **headers: str) -> Answer:
        return self.ask("/restore", picture, **headers)

    def open(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=15)

    def metrics(self) -> dict[str, float]:
        """Sample -> value: `mirl_requests_total{outcome="full"}`."""
        lines = self.ask("/metrics").body.decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def outcomes(self) -> dict[str, int]:
        """Outcome -> requests that ended so, none left out."""
        found = re.compile(r'mirl_requests_total\{outcome="(\w+)"\}')
        named = ((found.fullmatch(name), value) for name, value in self.metrics().items())
        return {match[1]: int(value) for match, value in named if match}


@pytest.fixture(scope="session")
def nothing(does_nothing: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ticket file whose output is its input."""
    path = tmp_path_factory.mktemp("ticket") / "ticket.safetensors"
    writing.write(does_nothing(), path)
    return path


@pytest.fixture(scope="session")
def start(nothing: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers with the options given; they are stopped at the end. `files`: that one may open, at most."""
    running = []

    def begin(*options: str, ticket: Path = nothing, log: IO[str] | None = None, files: int = 0) -> Server:
        command = [sys.executable, "-m", "mirl.command.main", "serve", "--port", "0", "--threads", "1"]
        if files:
            command = ["prlimit", f"--nofile={files}:{files}", *command]
        process = subprocess.Popen(
            [*command, "--ticket", str(ticket), *options], stdout=subprocess.PIPE, stderr=log, text=True
        )
        running.append(process)
        assert process.stdout
        said = process.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+);", said)
        assert found, said
        return Server(process, found[1], int(found[2]))

    yield begin
    for process in running:
        process.terminate()
        assert process.wait(30) in STOPPED
        if process.stdout:
            process.stdout.close()


@pytest.fixture(scope="session")
def server(start: Callable[..., Server]) -> Server:
    """One with small limits: 300 KiB, four million pixels, two that wait."""
    return start("--max-bytes", "300K", "--max-pixels", "4M", "--queue", "2", "--timeout", "20")


def restoring_process(server: Server) -> int:
    children = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    pids = [int(pid) for path in children for pid in path.read_text().split()]
    (found,) = [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found


def resident_kib(process: int) -> int:
    """Memory of a process, without its children's."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def post(data: bytes, length: int | None = None) -> bytes:
    """A request to restore as it goes over the wire; `length`: that it says it has."""
    length = len(data) if length is None else length
    return f"POST /restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode() + data


def encoded(image_HWC: np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(image_HWC).save(file, format=format, **options)
        return file.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))
