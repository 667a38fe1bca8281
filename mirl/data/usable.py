"""What a data set must be so that a study of it trains and is measured: `prepare` and `mirl data check` ask the same."""

from collections.abc import Iterable, Sequence

import numpy as np

from mirl.data.importers import Entry
from mirl.data.tasks import Table
from mirl.terminal import printable

SMALLEST = 16
"""Smallest side of a degraded test picture in pixels; the crop of the protocol `paper` leaves nothing of a smaller one."""
NAME_BYTES = 240
"""Most bytes of a test picture's name and its task's together: a study names files by both, and file systems take 255."""


def wrong_entries(entries: Sequence[Entry], tasks: Table) -> list[str]:
    """Return a sentence for everything that is wrong with the entries of a data set before a picture is read.

    That is a file without a partner, a name that is not UTF-8, too long or given twice.
    """
    lost = [entry.lost for entry in entries if entry.lost]
    usable = [entry for entry in entries if not entry.lost]
    names = [said for entry in usable if (said := _wrong_name(entry, tasks))]
    return [*lost, *names, *_doubles(usable)]


def wrong_pictures(entry: Entry, clean: np.ndarray | None, degraded: np.ndarray | None) -> list[str]:
    """Return a sentence for everything that is wrong with the pictures of `entry`; None is one that cannot be read."""
    found = []
    if clean is not None and degraded is not None:
        if clean.shape[:2] != tuple(side * entry.scale for side in degraded.shape[:2]):
            found.append(_unequal(entry, degraded, clean))
        elif not entry.made and np.array_equal(clean, degraded):
            found.append(
                f"{_where(entry)} and its partner {entry.clean.where} show the very same pixels, expected a degraded "
                "picture and a clean one; replace one of them or remove the pair"
            )
    smallest = SMALLEST * entry.scale
    if clean is not None and entry.split == "test" and min(clean.shape[:2]) < smallest:
        found.append(
            f"{entry.clean.where} is {clean.shape[1]} x {clean.shape[0]}, expected at least {smallest} x {smallest} of a "
            "test picture; remove it"
        )
    return found


def _wrong_name(entry: Entry, tasks: Table) -> str:
    try:
        length = len(entry.name.encode())
    except UnicodeEncodeError:
        return f"{printable(_where(entry))} has a name that is not UTF-8; rename it"
    longest = max(tasks, key=len)
    if entry.split == "test" and length + len(longest) > NAME_BYTES:
        most = NAME_BYTES - len(longest)
        return (
            f"{_where(entry)} would be called {entry.name}, which has {length} bytes, expected at most {most} beside a "
            f"task called {longest}; rename it"
        )
    return ""


def _doubles(entries: Iterable[Entry]) -> list[str]:
    seen: dict[tuple[str, str, str], Entry] = {}
    found = []
    for entry in entries:
        other = seen.setdefault((entry.split, entry.task, entry.name), entry)
        if other is not entry:
            found.append(
                f"{_where(other)} and {_where(entry)} would both be called {entry.name}; rename one, or name each folder in "
                "one source only"
            )
    return found


def empty_splits(entries: Iterable[Entry], splits: Sequence[str] = ("train", "test")) -> list[str]:
    """Return a sentence for each of the splits that has no entries; a study needs both."""
    there = {entry.split for entry in entries}
    return [
        f"the sources of `data` have no picture of the split {split}; expected at least one"
        for split in splits
        if split not in there
    ]


def _unequal(entry: Entry, degraded: np.ndarray, clean: np.ndarray) -> str:
    expected = "the same size" if entry.scale == 1 else f"{entry.scale} times the size"
    return (
        f"{_where(entry)} is {degraded.shape[1]} x {degraded.shape[0]} but its partner "
        f"{entry.clean.where} is {clean.shape[1]} x {clean.shape[0]}; "
        f"expected {expected}: crop them or remove the pair"
    )


def _where(entry: Entry) -> str:
    """Return the file that gives the entry its name."""
    return (entry.degraded or entry.clean).where
