"""Real servers, in processes of their own, with a ticket that changes nothing."""

import http.client
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mirl.tickets import format as ticket_format

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
    ticket_format.write(does_nothing(), path)
    return path


@pytest.fixture(scope="session")
def start(nothing: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers with the options given; they are stopped at the end."""
    running = []

    def begin(*options: str) -> Server:
        command = [sys.executable, "-m", "mirl.command.main", "serve", "--port", "0", "--threads", "1"]
        process = subprocess.Popen(
            [*command, "--ticket", str(nothing), *options], stdout=subprocess.PIPE, text=True
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


def encoded(image_HWC: np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(image_HWC).save(file, format=format, **options)
        return file.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))
