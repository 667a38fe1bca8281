"""The live sink alone: it batches, and it never holds a training up."""

import threading
import time

import pytest

from flows.tracking import live
from flows.tracking.live import LiveSink
from mirl.records import TrainRecord


def record(step: int, loss: float = 0.1) -> TrainRecord:
    return TrainRecord(step=step, loss=loss, learning_rate=1e-3, gradient_norm=1.0)


class Notes:
    """A recorder that remembers."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.status = ""

    def log(self, records: object) -> None:
        self.batches.append(len(records))  # type: ignore[arg-type]

    def end(self, status: str) -> None:
        self.status = status


def test_a_server_that_hangs_does_not_hold_the_end_of_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "CLOSE_SECONDS", 0.2)
    release = threading.Event()
    sink = LiveSink("r1", lambda: release.wait(30) and None)  # type: ignore[arg-type, return-value]
    begun = time.monotonic()
    sink.close()
    release.set()
    assert time.monotonic() - begun < 2
    assert capsys.readouterr().err.count("\n") == 1


def test_records_travel_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.2)
    recorder = Notes()
    sink = LiveSink("r1", lambda: recorder)
    for step in range(500):
        sink.log(record(step))
    sink.close()
    assert sum(recorder.batches) == 500
    assert len(recorder.batches) <= 3
    assert recorder.status == "FINISHED"
