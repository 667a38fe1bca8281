"""Requests wait in line for the one process that restores; who comes when the line is full is sent away."""

import asyncio
import math
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mirl.config import UserError
from mirl.serve.limits import Limits
from mirl.serve.messages import Restored, Wanted
from mirl.serve.metrics import Metrics
from mirl.serve.refusal import Refusal
from mirl.serve.workshop import Workshop

PAUSE_SECONDS = 1
"""Between two looks whether the restoring process is there, and two attempts to begin one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Waiting:
    wanted: Wanted
    since: float
    deadline: float
    """Both by the loop's clock, seconds."""
    answer: asyncio.Future[Restored] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Queue:
    """A line of at most `limits.queue` pictures before a workshop; for the thread of one event loop."""

    def __init__(self, workshop: Workshop, limits: Limits, metrics: Metrics) -> None:
        self._workshop, self._limits, self._metrics = workshop, limits, metrics
        self._line: asyncio.Queue[_Waiting] = asyncio.Queue()  # bounded by the places
        self._taken = 0
        self._recent_seconds: deque[float] = deque([1.0], maxlen=8)
        metrics.places_taken.set_function(lambda: self._taken)
        metrics.queue_length.set_function(self._line.qsize)

    @property
    def ready(self) -> bool:
        return self._workshop.ready

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one picture, from its first byte to the last of its answer: so memory is bounded.

        Refusal where none is free.
        """
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

    async def restored(self, wanted: Wanted) -> Restored:
        """The picture, restored when its turn has come. Refusal also where the time is up, waiting or not."""
        now = asyncio.get_running_loop().time()
        waiting = _Waiting(wanted=wanted, since=now, deadline=now + self._limits.seconds)
        self._line.put_nowait(waiting)
        try:
            async with asyncio.timeout_at(waiting.deadline):
                return await waiting.answer  # cancelled with us: then it is passed over
        except TimeoutError:
            raise Refusal(
                "late",
                f"the picture was not restored within {self._limits.seconds:g} s; make it smaller, or send it later",
            ) from None

    async def run(self) -> None:
        """Restore what waits, one after the other, until cancelled; the process is begun again whenever it is gone."""
        while True:
            coming = asyncio.create_task(self._line.get())
            while not coming.done() or not self._workshop.ready:
                if not self._workshop.ready:
                    await self._reopen()
                await asyncio.wait({coming}, timeout=PAUSE_SECONDS)
            waiting, now = coming.result(), asyncio.get_running_loop().time()
            if not waiting.answer.done() and now < waiting.deadline:  # somebody still waits for it
                self._metrics.wait_seconds.observe(now - waiting.since)
                await self._restore(waiting, waiting.deadline - now)
                self._recent_seconds.append(asyncio.get_running_loop().time() - now)

    async def _restore(self, waiting: _Waiting, seconds: float) -> None:
        try:
            restored = await asyncio.to_thread(self._workshop.restore, waiting.wanted, seconds)
        except Exception as error:
            if not isinstance(error, Refusal):  # such as no memory for the answer: the others go on
                traceback.print_exc()
                await asyncio.to_thread(self._workshop.close)  # what it may still say belongs to nobody
                error = Refusal("crashed", "the picture could not be restored; the server's log says why")
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
            return
        self._metrics.restore_seconds.observe(restored.seconds)
        self._metrics.pixels.inc(restored.pixels)
        if not waiting.answer.done():
            waiting.answer.set_result(restored)

    async def _reopen(self) -> None:
        while not self._workshop.ready:
            self._metrics.restarts.inc()
            try:
                await asyncio.to_thread(self._workshop.open)
            except Exception as error:  # whatever it is, pictures wait, and the next attempt may succeed
                if not isinstance(error, UserError | OSError):
                    traceback.print_exc()
                print(f"mirl: error: {error}", file=sys.stderr, flush=True)
                await asyncio.sleep(PAUSE_SECONDS)
