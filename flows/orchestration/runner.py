"""Execution of one stage in a private clone; its results are plain values that travel between machines."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict

from flows.child_process import EXIT_STOPPED
from flows.graph import Node, has_remote, refuse_closed_remote
from flows.locks import Lock
from flows.orchestration.checkout import CloneFolder, Revision
from flows.orchestration.lockfile import LockFile
from mirl.config import Stopped, UserError
from mirl.names import Digest
from mirl.terminal import printable

Log = Callable[[str], None]
GRACE_SECONDS = 60.0
"""Time that a stage that is told to stop may take for its checkpoint."""
PUSH_AGAIN_SECONDS = (15.0, 60.0, 300.0, 900.0)
"""Waits before a push is tried again: a remote that is away for a while is no reason to train again elsewhere."""
ALL_STAGES = "dvc.yaml"
"""Argument that DVC takes for the names of all stages."""
PROGRESS_SECONDS = 15.0
"""Time between two lines of a progress bar that are logged."""


class StageJob(BaseModel):
    """One stage to be done, complete and fit for JSON: any process that has the job can do the work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Digest
    """Fingerprint of the work."""
    node: Node
    revision: Revision
    lock: Lock
    """Lock entries of the stages before this one, and of the stage itself if it has one."""


class StageResult(BaseModel):
    """Result of one stage: its lock entry and metrics, and the time and machine they took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry: dict[str, Any]
    """The stage's entry of dvc.lock."""
    metrics: dict[str, float]
    """Numbers of the stage's metrics files."""
    seconds: float
    host: str


def run(
    work: StageJob,
    clones: CloneFolder,
    environment: Mapping[str, str],
    log: Log,
    guard: "ChildProcessGuard | None" = None,
) -> StageResult:
    """Do `work`: check out the revision, fetch the stage's inputs, make the stage, hand on its result.

    `environment` is added to the stage's own; terminating `guard` ends the stage. Raises UserError if the stage ends
    with code 2, Stopped if it was stopped, RuntimeError otherwise.
    """
    guard = guard or ChildProcessGuard()
    with clones.exclusive(work.key, lambda: not guard.terminated), clones.clone(work.revision) as clone:
        refuse_closed_remote(clone)  # days of training are a bad time to learn it
        known = clones.stored_result(work.key)
        done = StageResult.model_validate_json(known) if known is not None else None
        if done is None or not is_there(clone, work, done, log):
            hold = {"MIRL_HOLD": clones.lock_files(work.key, clone)}
            done = _make(work, clone, Dvc(clone, log, {**environment, **hold}, guard), log)
            clones.store_result(work.key, done.model_dump_json())
        if has_remote(clone):
            _push(Dvc(clone, log, guard=guard), work.node.name, log, guard)
        return done


def _push(dvc: "Dvc", name: str, log: Log, guard: "ChildProcessGuard") -> None:
    for seconds in PUSH_AGAIN_SECONDS:
        try:
            dvc("push", "--", name)
            return
        except UserError as error:
            log(f"{error}; it is tried again in {seconds:.0f} s")
        until = time.monotonic() + seconds
        while time.monotonic() < until and not guard.terminated:
            time.sleep(0.5)
    dvc("push", "--", name)


def _make(work: StageJob, clone: Path, dvc: "Dvc", log: Log) -> StageResult:
    begun = time.monotonic()
    LockFile(clone / "dvc.lock").write(work.lock)
    dvc.fetch([*work.node.after, *work.node.sources])
    make = ["repro", "--single-item", "--no-run-cache", "--allow-missing"]
    dvc(*make, "--", work.node.name)
    if not _is_whole(clone, work.node) and not is_there(clone, work, _done(clone, work, begun), log):
        dvc(*make, "--force", "--", work.node.name)  # DVC found nothing changed, but what it made is gone
    return _done(clone, work, begun)


def is_there(clone: Path, work: StageJob, done: StageResult, log: Log) -> bool:
    """Return whether the results that `done` names are in the cache or the remote, and put them into `clone`."""
    LockFile(clone / "dvc.lock").write(work.lock | {work.node.name: done.entry})
    try:
        Dvc(clone, log).fetch([work.node.name])
    except UserError:
        return False
    return _is_whole(clone, work.node)


def _is_whole(clone: Path, node: Node) -> bool:
    return all((clone / path).exists() for path in node.own["outs"])


def _done(clone: Path, work: StageJob, begun: float) -> StageResult:
    entry = LockFile(clone / "dvc.lock").load()[work.node.name]
    there = [path for path in work.node.metrics if (clone / path).exists()]
    metrics = {
        name: value for path in there for name, value in json.loads((clone / path).read_text()).items()
    }
    return StageResult(
        entry=entry, metrics=metrics, seconds=time.monotonic() - begun, host=os.uname().nodename
    )


class ChildProcessGuard:
    """Guard of child processes: when terminated, it ends those that it has started, and starts no more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self.terminated = False

    def terminate(self) -> None:
        """Send SIGTERM to all processes, SIGKILL after GRACE_SECONDS; a training writes its checkpoint and ends."""
        with self._lock:
            self.terminated = True
            for process in self._processes:
                _end(process)
                self._kill_later(process)

    @contextmanager
    def start(self, begin: Callable[[], subprocess.Popen[bytes]]) -> Iterator[subprocess.Popen[bytes]]:
        """Begin a process that has ended when the block ends, also at an error.

        Raises Stopped if the guard was terminated before.
        """
        with self._lock:
            if self.terminated:
                raise Stopped("stopped before it began")
            process = begin()
            self._processes.add(process)
        try:
            yield process
        finally:
            if process.returncode != 0:
                _end(process)
            assert process.stdout is not None
            self._kill_later(process)
            process.stdout.read()  # its stage holds the other end until it has written its checkpoint
            process.wait()
            with self._lock:
                self._processes.remove(process)

    def _kill_later(self, process: "subprocess.Popen[bytes]") -> None:
        """Send SIGKILL after GRACE_SECONDS, unless the process has ended by then."""

        def kill() -> None:
            with self._lock:
                if process in self._processes:
                    _end(process, signal.SIGKILL)

        timer = threading.Timer(GRACE_SECONDS, kill)
        timer.daemon = True
        timer.start()


def _end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    """Send a signal to a process and to all that it began; do nothing if all have ended."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)  # it leads a group of its own


class Dvc:
    """DVC's command in one folder; its output goes to `log` as it comes."""

    def __init__(
        self,
        folder: Path,
        log: Log,
        environment: Mapping[str, str] | None = None,
        guard: ChildProcessGuard | None = None,
    ) -> None:
        self._folder, self._log, self._guard = folder, log, guard or ChildProcessGuard()
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        self._environment = {
            **os.environ, "PATH": path, "SHELL": "/bin/sh", "PYTHONUNBUFFERED": "1", **(environment or {})
        }  # fmt: skip

    def fetch(self, stages: Sequence[str] | None) -> None:
        """Put the results of `stages` into the folder, from the remote if there is one.

        None means every stage, which takes DVC a tenth of the time that naming them all does. Raises UserError if DVC
        fails.
        """
        if stages != [] and has_remote(self._folder):
            self("fetch", "--", *(stages or [ALL_STAGES]))
        self.checkout(stages)

    def checkout(self, stages: Sequence[str] | None) -> None:
        """Put the results of `stages` (None: all) from the cache into the folder, over what lies there."""
        if stages != []:
            self("checkout", "--force", "--", *(stages or [ALL_STAGES]))

    def __call__(self, command: str, *arguments: str) -> None:
        said: list[str] = []
        with self._guard.start(lambda: self._begin(command, *arguments)) as process:
            assert process.stdout is not None
            for line, is_progress in _lines(process.stdout):
                self._log(line)
                said = said if is_progress else [*said, line][-50:]
            code = process.wait()
        if code:
            raise _trouble(command, arguments, said, code)

    def _begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        # -P: these modules are ours, not those of the revision that lies in the folder
        in_child = [sys.executable, "-P", "-m", "flows.child_process", str(os.getpid())]
        return subprocess.Popen(
            [*in_child, "flows.remote", "--wait-for-lock", *arguments],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is ours to pass on
        )


def _trouble(command: str, arguments: tuple[str, ...], said: list[str], code: int) -> Exception:
    exited = re.search(r"exited with (-?\d+)", "\n".join(said))
    own = int(exited.group(1)) if exited else None
    sentences = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    if own == 2 and sentences:
        return UserError(f"{arguments[-1]}: {sentences[-1]}")
    if own == EXIT_STOPPED or code == -signal.SIGTERM:
        return Stopped(f"{arguments[-1]} was stopped; it goes on where it was when it is run again")
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")] or said[-1:]
    sentence = f"dvc {command} {arguments[-1]}: {(errors or ['no word'])[0]}"
    return RuntimeError(sentence) if command == "repro" else UserError(sentence)


def _lines(stream: IO[bytes]) -> Iterator[tuple[str, bool]]:
    """Yield lines as they come, each with True if it is a progress bar; of a bar only one line in PROGRESS_SECONDS."""
    rest, last = b"", -PROGRESS_SECONDS
    while chunk := os.read(stream.fileno(), 65536):
        *parts, rest = re.split(rb"(?<=[\r\n])", rest + chunk)
        for part in parts:
            line, is_progress = _line(part), part.endswith(b"\r")
            if is_progress and time.monotonic() - last < PROGRESS_SECONDS:
                continue
            last = time.monotonic() if is_progress else last
            if line:
                yield line, is_progress
    if line := _line(rest):
        yield line, False


def _line(part: bytes) -> str:
    return printable(part.decode(errors="replace").strip())
