"""The real servers of `make server`, for tests: at a loopback address of their own, in a folder of their own."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from flows import login

START_SECONDS = 180


class Served(NamedTuple):
    """The folder and the address of `make server`, and what its file says."""

    folder: Path
    host: str
    known: dict[str, str]

    @property
    def prefect(self) -> str:
        return f"http://{self.host}:4200"

    @property
    def mlflow(self) -> str:
        return f"http://{self.host}:5000"

    @property
    def mlflow_login(self) -> tuple[str, str]:
        return self.known["MLFLOW_TRACKING_USERNAME"], self.known["MLFLOW_TRACKING_PASSWORD"]

    @property
    def prefect_login(self) -> tuple[str, str]:
        name, _, password = self.known["PREFECT_API_AUTH_STRING"].partition(":")
        return name, password


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """The real servers and their worker; nothing of them runs on afterwards."""
    host = f"127.{random.SystemRandom().randint(1, 250)}.{os.getpid() % 250}.1"
    command = [sys.executable, "-m", "flows.orchestration.servers", "--host", host]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=folder, env=alone(), stdout=said, stderr=said)
    try:
        until = time.monotonic() + START_SECONDS
        while "To use them" not in (text := (folder / "said").read_text()):
            assert process.poll() is None and time.monotonic() < until, text
            time.sleep(0.2)
        begun = children(process.pid)
        yield Served(folder, host, login.kept(folder))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    assert len(begun) >= 3 and not [child for child in begun if Path(f"/proc/{child}").exists()]


def alone(**more: str) -> dict[str, str]:
    """The environment without anybody's servers."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    return own | {"DO_NOT_TRACK": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"} | more


def children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [found for child in map(int, listed) for found in (child, *children(child))]
