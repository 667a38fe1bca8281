"""The stage `prepare`, which turns sources into manifest.parquet and pixels.arrow; same input, same bytes."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mirl.config import UserError
from mirl.data import manifest
from mirl.data.importers import IMPORTERS, Entry, ImageSource
from mirl.data.leaks import HeldOut, Leak, in_words
from mirl.data.manifest import Row
from mirl.data.packed import MANIFEST, PIXELS, PixelWriter
from mirl.data.sections import DataSection
from mirl.data.tasks import Task, to_plain
from mirl.data.usable import empty_splits, wrong_entries, wrong_pictures

Progress = Callable[[int, int], None]
"""Callback that takes (entries done, entries in all) after each entry."""


def prepare(
    section: DataSection, root: Path, dest: Path, progress: Progress = lambda done, total: None
) -> None:
    """Write the prepared data set into `dest`, an existing empty folder.

    `root` is the folder that the sources' paths are relative to: `section.root`, resolved by the caller.

    One picture is held at a time. Raises UserError for broken images, empty or missing folders, a picture in both train
    and test, and what `mirl.data.usable` finds wrong.
    """
    entries = collect(section, root)
    rows: list[Row] = []
    leaks: list[Leak] = []
    held_out = HeldOut()
    with PixelWriter(dest / PIXELS) as writer:
        for done, (source, entry) in enumerate(entries, start=1):
            pictures = _read(entry)
            found = _shown(entry, pictures["clean"], held_out)
            leaks.extend(found)
            if not (found and section.leaks == "leave_out"):
                rows.extend(_row(source, entry, role, pixels, writer) for role, pixels in pictures.items())
            progress(done, len(entries))
    if leaks:
        _report_leaks(leaks, section)
    manifest.write(rows, dest / MANIFEST, to_plain(section.tasks))


def collect(section: DataSection, root: Path) -> list[tuple[str, Entry]]:
    """List (source, entry) for all that the sources name, test first, with the test pairs that are made.

    Raises UserError if `root` is not a folder, for what `wrong_entries` finds, or if no image is in train.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; expected the data folder that `data.root` names")
    tasks = section.table
    entries = [
        (name, entry)
        for name, source in sorted(section.sources.items())
        for entry in IMPORTERS[source.kind](source, root, tasks)
    ]
    for task in section.made:
        if not any(entry.task == task.name and entry.split == "test" for _, entry in entries):
            entries += [
                (name, _synthetic(entry, task)) for name, entry in entries if _is_test_photograph(entry)
            ]
    alone = [entry for _, entry in entries]
    if wrong := wrong_entries(alone, tasks) + empty_splits(alone, ("train",)):
        others = f" ({len(wrong) - 1} more; `mirl data check` names them)" if wrong[1:] else ""
        raise UserError(f"{wrong[0]}{others}")
    # Test first, so that a training picture that shows a test picture is known when it is read.
    entries.sort(key=lambda named: ("test", "val", "train").index(named[1].split))
    return entries


def _is_test_photograph(entry: Entry) -> bool:
    return entry.split == "test" and entry.task == ""


def _synthetic(entry: Entry, task: Task) -> Entry:
    clean = entry.clean.cut_to(task.scale)

    def read() -> np.ndarray:
        return task.test_input(entry.name, clean.read(), entry.depth() if entry.depth else None)

    made = ImageSource(where=f"{entry.clean.where}, made for {task.name}", read=read)
    return Entry(
        name=entry.name, split="test", task=task.name, clean=clean, degraded=made, scale=task.scale, made=True
    )


def _read(entry: Entry) -> dict[str, np.ndarray]:
    """Return role -> pixels of an entry. Raises UserError if its pictures are broken, or not of use."""
    pictures = {"clean": entry.clean.read()}
    if entry.degraded:
        pictures["degraded"] = entry.degraded.read()
    if wrong := wrong_pictures(entry, pictures["clean"], pictures.get("degraded")):
        raise UserError(wrong[0])
    if entry.depth:
        pictures["depth"] = entry.depth()
    return pictures


def _shown(entry: Entry, clean: np.ndarray, held_out: HeldOut) -> list[Leak]:
    """Return the leaks of a training entry; add a test entry, which comes first, to `held_out`."""
    if entry.split == "test":
        held_out.add(entry.clean.where, clean, entry.clean.read)
    return held_out.shown_by(entry.clean.where, clean) if entry.split == "train" else []


def _row(source: str, entry: Entry, role: str, pixels: np.ndarray, writer: PixelWriter) -> Row:
    place, sha256 = writer.add(pixels)
    alone = entry.degraded is None and entry.depth is None
    return Row(
        image=entry.name,
        source=source,
        split=entry.split,
        task=entry.task,
        role=role,
        pair="" if alone else f"{entry.split}/{entry.task}/{entry.name}",
        height=pixels.shape[0],
        width=pixels.shape[1],
        sha256=sha256,
        row=place,
    )


def _report_leaks(leaks: list[Leak], section: DataSection) -> None:
    if section.leaks == "refuse":
        raise UserError(
            f"{in_words(leaks)}; take them out of train, or set `data.leaks` to `leave_out` (train "
            "without them) or `allow` (to compare with published tables)"
        )
    done = "left out of training" if section.leaks == "leave_out" else "trained on all the same"
    warnings.warn(f"{in_words(leaks)} ({done})", stacklevel=3)
