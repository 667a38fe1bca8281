"""Queue of requests for the one process that restores; a request is refused if the queue is full."""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from logging import getLogger

from mirl import terminal
from mirl.config import UserError
from mirl.serve.limits import Limits
from mirl.serve.messages import Restored, RestoreRequest
from mirl.serve.metrics import Metrics
from mirl.serve.refusal import Refusal
from mirl.serve.worker import Worker

LOG = getLogger("mirl.serve")
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1, 30
"""Seconds between two checks of the restoring process; and longest pause between attempts to start one."""
GRACE_SECONDS = 2
"""Seconds for a picture whose time is up to be given up between two tiles; then its process is killed."""

STARTING = "the restoring process is still being begun again; send the picture later"
FAILING = "the ticket that the server began with cannot be loaded again, so nothing is restored; the server's log says why"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Waiting:
    wanted: RestoreRequest
    since: float
    deadline: float
    """End of the waiting time. Like `since`, in seconds of the event loop's clock."""
    answer: asyncio.Future[Restored] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Queue:
    """Queue of at most `limits.queue` pictures before a worker; for the thread of one event loop."""

    def __init__(self, worker: Worker, limits: Limits, metrics: Metrics) -> None:
        self._worker, self._limits, self._metrics = worker, limits, metrics
        self._line: deque[_Waiting] = deque()  # bounded by the slots: who goes is taken out
        self._arrived = asyncio.Event()
        self._failing = False
        self._current: _Waiting | None = None
        self._taken = 0
        self._recent_seconds: deque[float] = deque([1.0], maxlen=8)
        metrics.slots_taken.set_function(lambda: self._taken)
        metrics.queue_length.set_function(lambda: len(self._line))

    @property
    def status(self) -> str:
        """State of the worker: `ready`, `starting` (the process is started again) or `failing` (the restart failed)."""
        return "ready" if self._worker.ready else "failing" if self._failing else "starting"

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot for one picture, from its first byte to the last of its answer, so that memory is bounded.

        Raises Refusal if no slot is free, or the worker is failing.
        """
        self._refuse_failing()
        if self._taken > self._limits.queue:  # one is restored, the others wait
            wait = math.ceil(sum(self._recent_seconds) / len(self._recent_seconds))
            raise Refusal(
                "full",
                f"{self._taken} pictures are being restored or wait already; send this one again in {wait} s",
                {"Retry-After": str(wait)},
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def restored(self, wanted: RestoreRequest) -> Restored:
        """Wait for a picture's turn and return it restored. Raises Refusal if it is refused or its time is up.

        If this is cancelled, a waiting picture is dropped at once, and one in progress is given up by the process.
        """
        self._refuse_failing()
        now = asyncio.get_running_loop().time()
        waiting = _Waiting(wanted=wanted, since=now, deadline=now + self._limits.seconds)
        self._line.append(waiting)
        self._arrived.set()
        try:
            async with asyncio.timeout_at(waiting.deadline):
                return await waiting.answer  # cancelled with us, then nobody waits for it
        except TimeoutError:
            if self.status == "starting":
                raise Refusal("unready", STARTING) from None
            raise Refusal(
                "late",
                f"the picture was not restored within {self._limits.seconds:g} s; make it smaller, or send it later",
            ) from None
        finally:
            if waiting in self._line:
                self._line.remove(waiting)

    async def run(self) -> None:
        """Restore waiting pictures one after the other until cancelled; start the process again whenever it is gone."""
        while True:
            if not self._worker.ready:
                await self._reopen()
            elif self._line:
                await self._restore(self._line.popleft())
            else:
                self._arrived.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), PAUSE_SECONDS)

    async def _restore(self, waiting: _Waiting) -> None:
        began = asyncio.get_running_loop().time()
        self._metrics.wait_seconds.observe(began - waiting.since)
        self._current = waiting
        self._worker.abandon(False)
        waiting.answer.add_done_callback(lambda answer: self._abandon(waiting))
        seconds = waiting.deadline - began + GRACE_SECONDS
        try:
            restored = await asyncio.to_thread(self._worker.restore, waiting.wanted, seconds)
        except Exception as error:
            if not isinstance(error, Refusal):  # such as no memory for the answer: the others go on
                LOG.exception("a picture could not be restored")
                await asyncio.to_thread(self._worker.close)  # what it may still say belongs to nobody
                error = Refusal("crashed", "the picture could not be restored; the server's log says why")
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
        else:
            self._metrics.restore_seconds.observe(restored.seconds)
            self._metrics.pixels.inc(restored.pixels)
            if not waiting.answer.done():
                waiting.answer.set_result(restored)
        self._current = None
        self._recent_seconds.append(asyncio.get_running_loop().time() - began)

    def _abandon(self, waiting: _Waiting) -> None:
        # Else it is the answer that is there, or the process has begun with the next picture.
        if waiting.answer.cancelled() and waiting is self._current:
            self._worker.abandon()

    async def _reopen(self) -> None:
        pause = PAUSE_SECONDS
        while not self._worker.ready:
            self._metrics.restarts.inc()
            try:
                await asyncio.to_thread(self._worker.open)
                self._failing = False
            except Exception as error:  # whatever it is, the next attempt may succeed
                if not isinstance(error, UserError | OSError):
                    LOG.exception("the restoring process could not be begun")
                terminal.fail(error, "mirl: ")
                self._fail()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _fail(self) -> None:
        """Refuse all waiting pictures, and from now on every new one."""
        self._failing = True
        for waiting in self._line:
            if not waiting.answer.done():
                waiting.answer.set_exception(Refusal("unready", FAILING))
        self._line.clear()

    def _refuse_failing(self) -> None:
        if self._failing:
            raise Refusal("unready", FAILING)
