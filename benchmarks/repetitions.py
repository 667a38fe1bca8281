"""Timing of contenders that take turns, so that a slow minute of a machine falls on all; and a table of the times."""

import statistics
import time
from collections.abc import Callable

import torch


def in_turn(
    work: dict[str, Callable[[], None]], repeats: int, before: dict[str, Callable[[], None]] | None = None
) -> dict[str, list[float]]:
    """Return the seconds of each repetition of each piece of work, after an untimed round; `before` is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats + 1):
        for name, piece in work.items():
            (before or {}).get(name, lambda: None)()
            _wait()
            begun = time.perf_counter()
            piece()
            _wait()
            seconds[name].append(time.perf_counter() - begun)
    return {name: values[1:] for name, values in seconds.items()}


def table(title: str, unit: str, seconds: dict[str, list[float]], amount: int) -> list[str]:
    """Return the lines of a Markdown table with a row for each contender.

    The speed-up over the first contender is the median of the repetitions' ratios.
    """
    first = next(iter(seconds.values()))
    lines = [
        f"| {title} | s, median | least to most | {unit} | times as fast | least to most |",
        "|---|" + "---|" * 5,
    ]
    for name, values in seconds.items():
        ratios = sorted(one / own for one, own in zip(first, values))
        middle = statistics.median(values)
        lines.append(
            f"| {name} | {middle:.4g} | {min(values):.4g} to {max(values):.4g} | {amount / middle:.4g} "
            f"| {statistics.median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )
    return [*lines, ""]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
