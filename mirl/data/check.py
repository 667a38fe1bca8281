"""`mirl data check`: everything that is wrong with a data set, in one go."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mirl.config import UserError
from mirl.data.importers import IMPORTERS, Entry, mirl_parts
from mirl.data.leaks import HeldOut, Leak, in_words
from mirl.data.prepare import Progress, unequal
from mirl.data.sections import DataSection, MirlSource


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found."""

    problems: list[str]
    """One sentence each: broken, too small, without a partner or of another size than it."""
    leaks: list[Leak]
    """Photographs that stand in both train and test."""
    counts: dict[tuple[str, str], int]
    """(split, task) -> usable pictures or pairs; the task of clean photographs is empty."""

    @property
    def sound(self) -> bool:
        """Nothing to mend."""
        return not (self.problems or self.leaks)

    def text(self) -> str:
        """The report for a terminal: counts, problems, leaks."""
        lines = [
            f"{split:5}  {task or 'photographs':12} {n:6}" for (split, task), n in sorted(self.counts.items())
        ]
        lines += self.problems
        if self.leaks:
            lines.append(in_words(self.leaks))
            lines += [f"  {leak.train}  =  {leak.test}" for leak in self.leaks]
        return "\n".join([*lines, "nothing is wrong" if self.sound else ""]).rstrip()


def check(
    section: DataSection, root: Path, patch: int = 64, progress: Progress = lambda done, total: None
) -> Report:
    """Looks at every picture that the sources name (relative to `root`); bad files are reported, not raised.

    `patch`: side of the training patches, pixels; smaller training pictures are reported.
    """
    problems: list[str] = []
    entries = _entries(section, root, problems)
    leaks: list[Leak] = []
    counts: Counter[tuple[str, str]] = Counter()
    held_out = HeldOut()
    for done, entry in enumerate(entries, start=1):
        found, clean = _look(entry, patch)
        problems += found
        if clean is not None and entry.split == "test":
            held_out.add(entry.clean.where, clean, entry.clean.read)
        if clean is not None and entry.split == "train":
            leaks += held_out.shown_by(entry.clean.where, clean)
        if not found:
            counts[entry.split, entry.task] += 1
        progress(done, len(entries))
    return Report(problems=problems, leaks=leaks, counts=dict(counts))


def _entries(section: DataSection, root: Path, problems: list[str]) -> list[Entry]:
    """Test first: training pictures are compared with it. What cannot be listed becomes a problem."""
    entries: list[Entry] = []
    for _, source in sorted(section.sources.items()):
        try:
            parts = mirl_parts(source, root) if isinstance(source, MirlSource) else [source]
        except UserError as error:
            problems.append(str(error))
            continue
        for part in parts:
            try:
                entries += IMPORTERS[part.kind](part, root)
            except UserError as error:
                problems.append(str(error))
    return sorted(entries, key=lambda entry: ("test", "val", "train").index(entry.split))


def _look(entry: Entry, patch: int) -> tuple[list[str], np.ndarray | None]:
    """(sentences about what is wrong, the clean picture where it can be read)."""
    problems = [entry.lost] if entry.lost else []
    clean = degraded = None
    try:
        clean = entry.clean.read()
    except UserError as error:
        problems.append(str(error))
    try:
        degraded = entry.degraded.read() if entry.degraded else None
    except UserError as error:
        problems.append(str(error))
    if clean is not None and degraded is not None and clean.shape != degraded.shape:
        problems.append(unequal(entry, degraded, clean))
    if clean is not None and entry.split == "train" and min(clean.shape[:2]) < patch:
        height, width = clean.shape[:2]
        problems.append(
            f"{entry.clean.where} is {width} x {height}, smaller than the training patch of "
            f"{patch} x {patch}; remove it or set a smaller `patch`"
        )
    return problems, None if entry.lost else clean
