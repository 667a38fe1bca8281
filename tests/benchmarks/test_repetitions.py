from collections.abc import Callable
from functools import partial

import pytest

from benchmarks import repetitions


def test_contenders_take_turns_and_the_first_turn_is_not_timed() -> None:
    turns: list[str] = []
    work: dict[str, Callable[[], None]] = {name: partial(turns.append, name) for name in "ab"}
    seconds = repetitions.in_turn(work, 2, {"b": lambda: turns.append("before b")})
    assert turns == ["a", "before b", "b"] * 3
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_what_comes_before_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    now = [0]

    def tick() -> None:
        now[0] = next(clock)

    monkeypatch.setattr("benchmarks.repetitions.time.perf_counter", lambda: now[0])
    assert repetitions.in_turn({"a": tick}, 3, {"a": tick}) == {"a": [1, 1, 1]}


def test_ratios_are_of_the_same_repetition() -> None:
    rows = repetitions.table("work", "images/s", {"slow": [2.0, 4.0, 9.0], "fast": [1.0, 1.0, 3.0]}, 8)
    assert rows[2:4] == [
        "| slow | 4 | 2 to 9 | 2 | 1.00 | 1.00 to 1.00 |",
        "| fast | 1 | 1 to 3 | 8 | 3.00 | 2.00 to 4.00 |",
    ]
