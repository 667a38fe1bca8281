"""The restoring process as its parent sees it: opened, given pictures, killed when one takes too long."""

import multiprocessing
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Self

from mirl.config import UserError
from mirl.serve.messages import Means, Restored, Wanted
from mirl.serve.refusal import Refusal

CLOSING_SECONDS = 2
"""For an idle process to end by itself; a busy one is killed after it."""


class Workshop:
    """One process that restores one picture at a time. For one thread at a time, but for `ready` and `stop`."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self.openings = 0
        """How often the process was begun."""

    @property
    def ready(self) -> bool:
        process = self._process  # another thread may end it meanwhile
        return self._pipe is not None and process is not None and process.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> dict[str, Any]:
        """Begin the process and wait until it can restore; the ticket's facts. UserError where it cannot."""
        self.close()
        context = multiprocessing.get_context("spawn")  # a copy of a process with threads is none
        pipe, theirs = context.Pipe()
        process = context.Process(target=_restore, args=(self._means, theirs), daemon=True, name="restoring")
        process.start()
        self._process = process
        theirs.close()
        self.openings += 1
        try:
            said = pipe.recv()
        except EOFError:
            self._end()
            raise UserError(
                "the restoring process died while it loaded the ticket; is there memory enough?"
            ) from None
        if isinstance(said, Exception):
            self._end()
            raise said
        self._pipe = pipe
        return dict(said)

    def restore(self, wanted: Wanted, seconds: float) -> Restored:
        """The restored picture; Refusal where there is none. After `seconds` the process is killed: `ready` is False."""
        assert self._pipe is not None, "open it first"
        try:
            self._pipe.send(wanted)
            if not self._pipe.poll(max(seconds, 0)):
                self._kill()
                raise Refusal("late", f"the picture was not restored within {seconds:.0f} s; make it smaller")
            said = self._pipe.recv()
        except (EOFError, OSError):
            self._kill()
            raise Refusal(
                "crashed",
                "the restoring process died of this picture; it is begun again, do not send this one",
            ) from None
        if isinstance(said, Refusal):
            raise said
        assert isinstance(said, Restored)
        return said

    def stop(self) -> None:
        """Kill the process, from any thread: what it was restoring is refused."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process, busy or not."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        self._end()

    def _kill(self) -> None:
        self.stop()
        self.close()

    def _end(self) -> None:
        if self._process is not None:
            self._process.join(CLOSING_SECONDS)
            self._process.kill()
            self._process.join()
            self._process = None


def _restore(means: Means, pipe: Connection) -> None:
    from mirl.serve.restoring import serve  # and with it torch, which the server itself does without

    serve(means, pipe)
