"""A Prefect server and workers as processes of their own, which can be killed at once and begun again."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.orchestration.servers import FREE_PORTS
from tests.flows.orchestration import pipelines
from tests.flows.orchestration.pipelines import make_repository

PATIENCE_SECONDS = 600  # a machine that does other work as well
POOLS = ("control", "gpu", "cpu")

SLOW = """
# As a stage of ours is: it dies with DVC, holds what it works on, and takes its time to end.
import os, signal, sys, time
from pathlib import Path
from flows.child_process import end_with_parent
end_with_parent()
from flows.stage import hold_all
held, place, name, after = hold_all(), Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def note(word):
    with (place / "slow-log").open("a") as file:
        file.write(f"{word} {os.getpid()} {os.getppid()}\\n")

def end(*_):
    time.sleep(4)
    note("ended")
    sys.exit(75)

signal.signal(signal.SIGTERM, end)
note("begun")
while (place / f"slow-{name}").exists():
    time.sleep(0.1)
Path("made", name).mkdir(parents=True)
Path("made", name, "word").write_text(Path("made", after, "word").read_text() + name + "\\n")
note("ended")
"""


def make_slow_repository(place: Path) -> Path:
    """A repository with a remote, whose trainings note where they ran and wait for a sign when told to."""
    root = make_repository(place / "repository")
    pipelines.run(root, "dvc", "remote", "add", "--default", "far", str(place / "far"))
    note = f'echo "$1 $MIRL_HOME" >> {place}/log; [ -e {place}/wait-$1 ] && {{ sleep 600; exit 1; }}\n'
    note += f'[ -e {place}/slow-$1 ] && exec {sys.executable} {place}/slow.py {place} "$1" "$2"\n'
    (place / "slow.py").write_text(SLOW)
    (root / "link.sh").write_text(note + pipelines.LINK)
    pipelines.run(root, "git", "commit", "--quiet", "--all", "--message", "note")
    return root


def until(what: Callable[[], Any], about: str) -> None:
    """Wait until `what` says so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < end, f"in vain, {PATIENCE_SECONDS} s were spent to see {about}"
        time.sleep(0.2)


def slow_words(place: Path) -> list[str]:
    """What the slow training noted: `begun` and `ended`, in order."""
    path = place / "slow-log"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


class Machines:
    """The server, a worker of each pool, and the flows of a slow repository."""

    def __init__(self, place: Path, store: Path, silence_seconds: float) -> None:
        self.place = place
        port = random.SystemRandom().choice(FREE_PORTS)
        self.api = f"http://127.0.0.1:{port}/api"
        self._database = place / "prefect" / "prefect.db"
        (place / "mlflow.db").write_bytes(store.read_bytes())
        self.environment = os.environ | {
            "PREFECT_API_URL": self.api,
            "PREFECT_HOME": str(self._database.parent),
            "PREFECT_PROFILES_PATH": str(place / "none.toml"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}",
            "MIRL_SILENCE_SECONDS": str(silence_seconds),
        }
        self._server = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.root = make_slow_repository(place)

    def begin(self) -> None:
        self.begin_server()
        register = [sys.executable, "-m", "flows.orchestration.deployments", "register", "--repository"]
        subprocess.run([*register, str(self.root)], env=self.environment, check=True, capture_output=True)
        self.begin_workers()

    def begin_server(self) -> None:
        self._begin("server", self._server)
        until(self._answers, "the server answer")

    def begin_workers(self) -> None:
        for pool in POOLS:
            home = {"MIRL_HOME": str(self.place / f"machine-{pool}")}
            self._begin(pool, ["flows.orchestration.deployments", "worker", pool], **home)

    def kill(self, *names: str) -> None:
        """SIGKILL, to all that these have begun as well, at once; no name: everything."""
        processes = [self._running.pop(name) for name in names or list(self._running)]
        for process in [found for begun in processes for found in (begun.pid, *_children(begun.pid))]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for begun in processes:
            begun.wait()

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the server or the worker of a pool, and to nothing that it has begun."""
        self._running[name].send_signal(number)

    def engines(self) -> list[int]:
        """What the workers have begun and is still there."""
        return [child for pool in POOLS for child in _children(self._running[pool].pid)]

    def forget(self) -> None:
        """Do what a server does that comes back after more than SILENCE_SECONDS and a minute: forget whom it has heard."""
        with closing(sqlite3.connect(self._database)) as database, database:
            database.execute("DELETE FROM automation_bucket")

    def run(self, name: str) -> FlowRun:
        """The latest run of that name."""
        with get_client(sync_client=True) as client:
            found = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
                limit=1,
            )
        return found[0]

    def begin_slow(self, steps: int) -> FlowRun:
        """A lottery in the middle of the stage `link dense`, which lasts until `let_end`."""
        (self.place / "slow-dense").touch()
        (self.place / "slow-log").unlink(missing_ok=True)
        run = self.begin_lottery(steps)
        until(lambda: slow_words(self.place), "the training")
        return run

    def begin_lottery(self, steps: int) -> FlowRun:
        """A lottery of a study of its own."""
        asked = {"targets": ["link@dense"], "overrides": {"train.steps": steps}}
        run = run_deployment("lottery/gpu", parameters=asked, timeout=0)
        assert isinstance(run, FlowRun)
        return run

    def let_end(self) -> None:
        (self.place / "slow-dense").unlink()

    def _begin(self, name: str, command: list[str], **more: str) -> None:
        with (self.place / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.environment | more,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.api}/health", timeout=5).is_success
        return False


@contextmanager
def machines(place: Path, store: Path, silence_seconds: float = 90.0) -> Iterator[Machines]:
    """They end with it; this process asks their server meanwhile."""
    made = Machines(place, store, silence_seconds)
    try:
        made.begin()
        with temporary_settings({PREFECT_API_URL: made.api}):
            yield made
    finally:
        made.kill()


def state(run: FlowRun) -> str:
    """The name of the state that a run is in now."""
    with get_client(sync_client=True) as client:
        return str(client.read_flow_run(run.id).state_name)


def _children(process: int) -> list[int]:
    try:
        listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [found for child in map(int, listed) for found in (child, *_children(child))]
