"""Check of a data set for `mirl data check`, which reports everything that is wrong in one go."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mirl.config import UserError
from mirl.data.importers import IMPORTERS, Entry, mirl_parts
from mirl.data.leaks import HeldOut, Leak, in_words
from mirl.data.prepare import Progress
from mirl.data.published import beside_the_paper
from mirl.data.sections import DataSection, MirlSource, PairsSource, Source
from mirl.data.tasks import Table
from mirl.data.usable import empty_splits, wrong_entries, wrong_pictures
from mirl.terminal import printable


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of the check: problems, leaks and counts."""

    problems: list[str]
    """One sentence each, such as for a file that is broken, too small, without a partner or unlike its partner in
    size."""
    leaks: list[Leak]
    """Photographs that stand in both train and test."""
    counts: dict[tuple[str, str], int]
    """(split, task) -> usable pictures or pairs; the task of clean photographs is empty."""
    made: dict[str, int] = field(default_factory=dict)
    """Task -> test pairs that `prepare` will make of clean photographs."""
    places: dict[str, int] | None = None
    """Folder of the MIR-L authors' layout -> usable pictures or pairs; None if no source has that layout."""

    tested: frozenset[str] = frozenset()
    """Tasks that there are test pictures for, made ones included."""

    @property
    def sound(self) -> bool:
        """True if the check found no problem and no leak."""
        return not (self.problems or self.leaks)

    def text(self) -> str:
        """Return the report for a terminal: counts, problems, leaks."""
        lines = [
            f"{split:5}  {task or 'photographs':12} {n:6}" for (split, task), n in sorted(self.counts.items())
        ]
        lines += [f"test   {task:12} {n:6}  made of the photographs" for task, n in self.made.items()]
        if self.places is not None:
            lines += ["beside the paper's data, which a study need not have:", *beside_the_paper(self.places)]
        lines += self.problems
        if self.leaks:
            lines.append(in_words(self.leaks))
            lines += [f"  {leak.train}  =  {leak.test}" for leak in self.leaks]
        return "\n".join([*map(printable, lines), "nothing is wrong" if self.sound else ""]).rstrip()


def check(
    section: DataSection,
    root: Path,
    patch: int = 64,
    progress: Progress = lambda done, total: None,
    balance: Mapping[str, float] = {},
) -> Report:
    """Check every picture that the sources name (relative to `root`); report bad files instead of raising an error.

    `patch` and `balance` are those of the training batches: side of the patches in pixels, and share of each task; if
    empty, all are trained. Training pictures that are smaller than the clean patches, and tasks that nothing can train,
    are reported.
    """
    trained = [name for name in section.table if not balance or balance.get(name, 0) > 0]
    problems: list[str] = []
    entries = _entries(section, root, problems)
    alone = [entry for _, entry in entries]
    missing = [] if problems else empty_splits(alone)  # else what cannot be listed is why
    all_listed = not (problems or missing)
    problems += wrong_entries(alone, section.table) + missing
    leaks: list[Leak] = []
    counts: Counter[tuple[str, str]] = Counter()
    places: Counter[str] = Counter()
    left_out: Counter[tuple[str, str]] = Counter()
    held_out = HeldOut()
    for done, (place, entry) in enumerate(entries, start=1):
        found, clean = _look(entry)
        if clean is not None and entry.split == "test":
            held_out.add(entry.clean.where, clean, entry.clean.read)
        shown = (
            held_out.shown_by(entry.clean.where, clean)
            if clean is not None and entry.split == "train"
            else []
        )
        leaks += shown
        goes = bool(shown) and section.leaks == "leave_out"
        if clean is not None and entry.split == "train" and entry.task in ("", *trained) and not goes:
            found += _too_small(entry, clean, patch)
        problems += found
        usable = not found and not entry.lost
        places[place] += usable
        if usable:
            counts[entry.split, entry.task] += 1
            left_out[entry.split, entry.task] += goes
        progress(done, len(entries))
    problems += _untrained(section.table, counts - left_out, trained) if all_listed else []
    photographs = counts["test", ""]
    made = {task.name: photographs for task in section.made if photographs and not counts["test", task.name]}
    laid_out = any(isinstance(source, MirlSource) for source in section.sources.values())
    of_layout = {place: count for place, count in places.items() if place} if laid_out else None
    tested = frozenset(
        name
        for name, task in section.table.items()
        if counts["test", name] or name in made or (photographs and not task.paired)
    )
    return Report(
        problems=problems, leaks=leaks, counts=dict(counts), made=made, places=of_layout, tested=tested
    )


def _untrained(tasks: Table, counts: Counter[tuple[str, str]], trained: list[str]) -> list[str]:
    """Return a sentence for each task that is trained, and has nothing to train on or nothing to measure."""
    found = []
    for name in trained:
        task = tasks[name]
        for split, made in (("train", task.training), ("test", task.testing)):
            if task.paired and not made and not counts[split, name]:
                found.append(
                    f"{name} has no pairs in {split}, and nothing can make them; name a source of kind `pairs` for it"
                )
        if task.training and not counts["train", name] and not counts["train", ""]:
            found.append(
                f"{name} has no training pictures, neither {'pairs nor ' if task.paired else ''}clean photographs; add "
                "some, or leave it out of `train.batches.balance`"
            )
    return found


def _entries(section: DataSection, root: Path, problems: list[str]) -> list[tuple[str, Entry]]:
    """List (folder of the MIR-L layout or an empty string, entry), the test split first.

    Training pictures are compared with the test split. A source that cannot be listed is added to `problems`. A
    photograph has the largest scale of the tasks, all of which it serves.
    """
    entries: list[tuple[str, Entry]] = []
    tasks = section.table
    for _, source in sorted(section.sources.items()):
        try:
            parts = _parts(source, root, tasks)
        except UserError as error:
            problems.append(str(error))
            continue
        for place, part in parts:
            try:
                entries += [(place, entry) for entry in IMPORTERS[part.kind](part, root, tasks)]
            except UserError as error:
                problems.append(str(error))
    largest = max(task.scale for task in tasks.values())
    entries = [(place, entry if entry.task else replace(entry, scale=largest)) for place, entry in entries]
    return sorted(entries, key=lambda found: ("test", "val", "train").index(found[1].split))


def _parts(source: Source, root: Path, tasks: Table) -> list[tuple[str, Source]]:
    """Split `source` into (folder of the MIR-L layout, such as train/denoise/WED, or an empty string; source) parts."""
    if not isinstance(source, MirlSource):
        return [("", source)]
    parts = mirl_parts(source, root, tasks)
    paths = [Path(part.input).parent if isinstance(part, PairsSource) else Path(part.path) for part in parts]
    return [(path.relative_to(source.path).as_posix(), part) for path, part in zip(paths, parts, strict=True)]


def _look(entry: Entry) -> tuple[list[str], np.ndarray | None]:
    """Return the problems of the pictures of `entry`, one sentence each, and its clean picture.

    The picture is None if it cannot be read or its file has no partner.
    """
    problems: list[str] = []
    clean = degraded = None
    try:
        clean = entry.clean.read()
    except UserError as error:
        problems.append(str(error))
    try:
        degraded = entry.degraded.read() if entry.degraded else None
    except UserError as error:
        problems.append(str(error))
    problems += wrong_pictures(entry, clean, degraded)
    return problems, None if entry.lost else clean


def _too_small(entry: Entry, clean: np.ndarray, patch: int) -> list[str]:
    height, width = clean.shape[:2]
    side = patch * entry.scale
    if min(height, width) >= side:
        return []
    return [
        f"{entry.clean.where} is {width} x {height}, smaller than the training patch of "
        f"{side} x {side}; remove it or set a smaller `patch`"
    ]
