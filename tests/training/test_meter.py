from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from mirl.training import meter
from mirl.training.meter import Meter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """One number: the time in seconds."""
    now = [1000.0]
    monkeypatch.setattr(meter, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def shown(*joules: float) -> Iterator[float]:
    return iter(joules)


def test_it_looks_at_the_energy_once_a_second(clock: list[float]) -> None:
    readings = shown(50.0, 61.0)
    measured = Meter(lambda: next(readings), seconds=7.0, joules=2.0)
    clock[0] += 0.5
    measured.tick()
    assert (measured.seconds, measured.joules) == (7.5, 2.0)
    clock[0] += 0.6
    measured.tick()
    assert measured.seconds == pytest.approx(8.1) and measured.joules == 13.0
    clock[0] += 0.9
    measured.tick()  # no third reading is asked for
    assert measured.joules == 13.0


def test_without_a_counter_nothing_is_known_but_the_time(clock: list[float]) -> None:
    measured = Meter(None)
    clock[0] += 5
    measured.tick()
    assert (measured.seconds, measured.joules) == (5.0, None)


def test_what_a_finished_training_took_is_told_where_there_is_no_counter(clock: list[float]) -> None:
    assert Meter(None, seconds=7.0, joules=2.0).joules == 2.0


@pytest.mark.parametrize(("device", "counted"), [("cpu", 0.0), ("cuda", 11.0)])
def test_the_first_process_counts_a_cpu_for_all_and_each_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, counted: float
) -> None:
    readings = shown(50.0, 61.0)
    monkeypatch.setattr(meter, "counter", lambda device: ("all", lambda: next(readings)))
    measured = Meter.of(torch.device(device), None, is_main=False)
    measured.read_energy()
    assert measured.joules == counted


def test_what_was_not_known_before_stays_unknown(clock: list[float]) -> None:
    readings = shown(1.0, 2.0, 3.0)
    measured = Meter(lambda: next(readings), joules=None)
    measured.read_energy()
    assert measured.joules is None


@pytest.mark.parametrize("good", [0, 1, 2])
def test_a_counter_that_ends_makes_the_energy_unknown(clock: list[float], good: int) -> None:
    readings = shown(1.0, 2.0)

    def joules() -> float:
        nonlocal good
        good -= 1
        if good < 0:
            raise OSError("gone")
        return next(readings)

    measured = Meter(joules)
    for _ in range(3):
        measured.read_energy()
    assert measured.joules is None
