"""Check of a data set for `mirl data check`, which reports everything that is wrong in one go."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mirl.config import UserError
from mirl.data.importers import IMPORTERS, Entry, mirl_parts
from mirl.data.leaks import HeldOut, Leak, in_words
from mirl.data.prepare import Progress, unequal
from mirl.data.published import beside_the_paper
from mirl.data.sections import DataSection, MirlSource, PairsSource, Source
from mirl.data.tasks import Table
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
    section: DataSection, root: Path, patch: int = 64, progress: Progress = lambda done, total: None
) -> Report:
    """Check every picture that the sources name (relative to `root`); report bad files instead of raising an error.

    `patch`: side of the training patches, pixels; training pictures that are smaller than the clean ones are reported.
    """
    problems: list[str] = []
    entries = _entries(section, root, problems)
    leaks: list[Leak] = []
    counts: Counter[tuple[str, str]] = Counter()
    places: Counter[str] = Counter()
    held_out = HeldOut()
    side = patch * max(task.scale for task in section.table.values())
    for done, (place, entry) in enumerate(entries, start=1):
        found, clean = _look(entry, side)
        problems += found
        if clean is not None and entry.split == "test":
            held_out.add(entry.clean.where, clean, entry.clean.read)
        if clean is not None and entry.split == "train":
            leaks += held_out.shown_by(entry.clean.where, clean)
        places[place] += not found
        if not found:
            counts[entry.split, entry.task] += 1
        progress(done, len(entries))
    problems += _without_pairs(section.table, counts)
    photographs = counts["test", ""]
    made = {task.name: photographs for task in section.made if photographs and not counts["test", task.name]}
    laid_out = any(isinstance(source, MirlSource) for source in section.sources.values())
    of_layout = {place: count for place, count in places.items() if place} if laid_out else None
    return Report(problems=problems, leaks=leaks, counts=dict(counts), made=made, places=of_layout)


def _without_pairs(tasks: Table, counts: Counter[tuple[str, str]]) -> list[str]:
    """Return a sentence for each task that can be trained or measured only with pairs but has none in a split."""
    return [
        f"{name} has no pairs in {split}, and nothing can make them; name a source of kind `pairs` for it"
        for name, task in tasks.items()
        for split, made in (("train", task.training), ("test", task.testing))
        if task.paired and not made and not counts[split, name]
    ]


def _entries(section: DataSection, root: Path, problems: list[str]) -> list[tuple[str, Entry]]:
    """List (folder of the MIR-L layout or an empty string, entry), the test split first.

    Training pictures are compared with the test split. A source that cannot be listed is added to `problems`.
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
    return sorted(entries, key=lambda found: ("test", "val", "train").index(found[1].split))


def _parts(source: Source, root: Path, tasks: Table) -> list[tuple[str, Source]]:
    """Split `source` into (folder of the MIR-L layout, such as train/denoise/WED, or an empty string; source) parts."""
    if not isinstance(source, MirlSource):
        return [("", source)]
    parts = mirl_parts(source, root, tasks)
    paths = [Path(part.input).parent if isinstance(part, PairsSource) else Path(part.path) for part in parts]
    return [(path.relative_to(source.path).as_posix(), part) for path, part in zip(paths, parts, strict=True)]


def _look(entry: Entry, side: int) -> tuple[list[str], np.ndarray | None]:
    """Return the problems of `entry`, one sentence each, and its clean picture.

    The picture is None if it cannot be read or its file has no partner.
    """
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
    if clean is not None and degraded is not None and (problem := unequal(entry, degraded, clean)):
        problems.append(problem)
    if clean is not None and entry.split == "train" and min(clean.shape[:2]) < side:
        height, width = clean.shape[:2]
        problems.append(
            f"{entry.clean.where} is {width} x {height}, smaller than the training patch of "
            f"{side} x {side}; remove it or set a smaller `patch`"
        )
    return problems, None if entry.lost else clean
