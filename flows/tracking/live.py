"""Live tracking of a training in a thread of its own, so that no server can hold up or stop the training."""

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from tqdm import tqdm

from mirl.config import Stopped
from mirl.records import TrainRecord

EVERY_SECONDS = 2.0
"""Time whose records travel together: one request takes 60 ms over HTTP, whatever is in it."""
CLOSE_SECONDS = 20.0
"""Longest time that the end of a training waits for its last records."""


class Recorder(Protocol):
    """Destination of the records of a training."""

    def log(self, records: Sequence[TrainRecord]) -> None: ...

    def end(self, status: str) -> None: ...


class LiveSink:
    """A `mirl.records.Sink` that hands records to what `open_recorder` returns, in batches, in the background.

    At the first trouble the sink says so in one line and takes no more; the run is imported later from its files.
    """

    def __init__(self, name: str, open_recorder: Callable[[], Recorder]) -> None:
        self._name, self._open = name, open_recorder
        self._queue: queue.SimpleQueue[TrainRecord | str] = queue.SimpleQueue()
        self._gave_up = False
        # A daemon, because a hanging server must not keep the process from ending.
        self._thread = threading.Thread(target=self._send, name=f"tracking {name}", daemon=True)
        self._thread.start()

    def log(self, record: TrainRecord) -> None:
        if not self._gave_up:
            self._queue.put(record)

    def close(self) -> None:
        """Send the records that are left and end the run: FINISHED, KILLED if told to stop, or FAILED at an error."""
        error = sys.exc_info()[1]  # close() stands in a `finally`
        stopped = isinstance(error, Stopped | KeyboardInterrupt)
        self._queue.put("FINISHED" if error is None else "KILLED" if stopped else "FAILED")
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._give_up(f"no answer for {CLOSE_SECONDS:.0f} s")

    def _send(self) -> None:
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its retries are not news
        try:
            recorder = self._open()
            status = None
            while status is None:
                records, status = self._gather()
                if records:
                    recorder.log(records)
            recorder.end(status)
        except Exception as error:  # whatever it is, the training is worth more
            self._give_up(" ".join(str(error).split())[:200] or type(error).__name__)

    def _gather(self) -> tuple[list[TrainRecord], str | None]:
        """Return the records of the next EVERY_SECONDS, and the final status, or None if it has not come."""
        records: list[TrainRecord] = []
        item = self._queue.get()
        until = time.monotonic() + EVERY_SECONDS
        while not isinstance(item, str):
            records.append(item)
            try:
                item = self._queue.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                return records, None
        return records, item

    def _give_up(self, why: str) -> None:
        if not self._gave_up:
            self._gave_up = True
            tqdm.write(
                f"warning: {self._name} is not tracked while it trains ({why}); training goes on, "
                "and `python -m flows.tracking sync` brings it in later",
                file=sys.stderr,
            )
