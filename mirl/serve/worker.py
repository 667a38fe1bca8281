"""Worker: the parent's handle of the restoring process, which is killed if it takes too long or stops responding."""

import math
import multiprocessing
import threading
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

from mirl import terminal
from mirl.config import UserError
from mirl.serve.messages import BEAT_SECONDS, Heartbeat, Restored, RestoreRequest, WorkerOptions
from mirl.serve.refusal import Refusal

OPENING_SECONDS = 300
"""Seconds for a process to load torch and the ticket."""
SILENT_BEATS = 20
"""Number of missed heartbeats after which a hanging process is killed; none is missed while both are stopped."""
CLOSING_SECONDS = 2
"""Seconds for an idle process to end by itself; then it is killed."""

LOST = {
    "crashed": "the restoring process died of this picture; it is begun again, do not send this one",
    "late": "the picture was not restored within {seconds:.0f} s; make it smaller",
    "unready": "the restoring process did not answer any more; it is begun again, send the picture again in some seconds",
}
"""Outcome of a picture whose process is lost -> sentence for the client."""


class Worker:
    """Process that restores one picture at a time. For one thread at a time, except `ready`, `abandon` and `stop`.

    Calls to the process wait without a time limit; a separate thread checks the limits and kills the process, which
    ends the wait.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._context = multiprocessing.get_context("spawn")  # a copy of a process with threads is none
        self._heartbeat: Heartbeat = self._context.RawValue(Heartbeat)
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._deadline = math.inf
        self._lost = "crashed"
        """Outcome of the present picture if the process ends."""
        self._stopped = False
        self._sha256 = ""
        self.openings = 0
        """Number of times the process was started."""

    @property
    def ready(self) -> bool:
        process = self._process  # another thread may end it meanwhile
        return self._pipe is not None and process is not None and process.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> dict[str, Any]:
        """Start the process, wait until it can restore, and return the ticket's facts.

        Raises UserError if the process cannot restore, or its ticket is not the one of the first process.
        """
        self.close()
        pipe, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_restore, args=(self._options, self._heartbeat, theirs), daemon=True, name="restoring"
        )
        self._deadline = time.monotonic() + OPENING_SECONDS
        process.start()
        self._process = process
        threading.Thread(target=self._supervise, args=(process,), daemon=True).start()
        theirs.close()
        self.openings += 1
        try:
            said = pipe.recv()
            if isinstance(said, Exception):
                raise said
            self._refuse_other(said)
        except (EOFError, ConnectionError):
            self._end()
            raise UserError(
                "the restoring process died while it loaded the ticket; is there memory enough?"
            ) from None
        except Exception:
            pipe.close()
            self._end()
            raise
        self._deadline = math.inf
        self._pipe = pipe
        return dict(said)

    def restore(self, wanted: RestoreRequest, seconds: float) -> Restored:
        """Return a picture restored. Raises Refusal if it is refused or the process is lost.

        The process is killed after `seconds`; then `ready` is False.
        """
        assert self._pipe is not None, "open it first"
        self._deadline, self._lost = time.monotonic() + seconds, "crashed"
        try:
            self._pipe.send(wanted)
            said = self._pipe.recv()
        except (EOFError, OSError):
            self._kill()
            raise Refusal(self._lost, LOST[self._lost].format(seconds=seconds)) from None
        finally:
            self._deadline = math.inf
        if isinstance(said, Refusal):
            raise said
        assert isinstance(said, Restored)
        return said

    def abandon(self, abandoned: bool = True) -> None:
        """Give up the picture that is being restored; False resets this before the next one. For any thread."""
        self._heartbeat.abandoned = abandoned

    def stop(self) -> None:
        """Kill the process for good; the picture in progress is refused. For any thread."""
        self._stopped = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process, busy or not."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        self._end()

    def _refuse_other(self, facts: dict[str, Any]) -> None:
        self._sha256 = self._sha256 or facts["sha256"]
        if facts["sha256"] != self._sha256:
            raise UserError(
                f"{self._options.ticket} was replaced: its SHA-256 digest is {facts['sha256']}, expected {self._sha256} as "
                "when the server began; put that ticket back, or start the server again"
            )

    def _supervise(self, process: BaseProcess) -> None:
        """Watch the process until it ends; kill it if it misses its heartbeats or a deadline."""
        beats, missed = self._heartbeat.beats, 0
        while not wait([process.sentinel], BEAT_SECONDS):
            opened, before, beats = self._pipe is not None, beats, self._heartbeat.beats
            missed = missed + 1 if opened and beats == before else 0
            if missed >= SILENT_BEATS or time.monotonic() > self._deadline or self._stopped:
                self._lost = "unready" if missed >= SILENT_BEATS else "late"
                process.kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
        self.close()

    def _end(self) -> None:
        if self._process is not None:
            self._process.join(CLOSING_SECONDS)
            self._process.kill()
            self._process.join(
                CLOSING_SECONDS
            )  # longer only where the system itself holds it: it is left behind
            self._process = None


def _restore(options: WorkerOptions, heartbeat: Heartbeat, pipe: Connection) -> None:
    terminal.guard()
    from mirl.serve.restoring import serve  # and with it torch, which the server itself does without

    serve(options, heartbeat, pipe)
