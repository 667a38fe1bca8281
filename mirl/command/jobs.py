"""Plan of a restoration: the photographs to restore, and where each result is written."""

import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mirl.config import UserError
from mirl.restore.image_file import FORMATS

PIPE = Path("-")
"""Path that stands for standard input or output; a file of that name is written ./-."""


@dataclass(frozen=True)
class Job:
    """Photograph to restore, and where the result is written."""

    source: Path
    target: Path

    @property
    def name(self) -> str:
        """Target of the job, in words."""
        if self.target != PIPE:
            return str(self.target)
        return f"{'standard input' if self.source == PIPE else self.source} to standard output"


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """All jobs of `mirl restore INPUTS -o OUT`."""

    restore: list[Job]
    to_folder: bool
    empty: list[str]
    """Sentences about inputs that stand for no photograph beside others that do, and folders that cannot be read."""
    left_out: Counter[str]
    """Why a file was left out, such as its ending -> number of such files."""


def plan(inputs: Sequence[str], out: str) -> Jobs:
    """Plan the jobs of `mirl restore INPUTS -o OUT`.

    A single photograph is written to the file `out` if `out` has an ending with a letter, such as .png or .heic.
    Otherwise, or if `out` ends in a slash, it is a folder that takes every photograph under its own name, with the
    sub-folders of an input folder. Inputs may be globs; "-" is standard input or output. Raises UserError if no input
    stands for a photograph, two photographs would get the same name, or several would be written to a single file.
    """
    target = _path(out)
    to_file = target == PIPE or (not _is_dir(target) and (target.is_file() or _names_a_file(out)))
    walks = {given: Walk(target) for given in inputs}
    each = {given: list(_photographs(given, walk)) for given, walk in walks.items()}
    found = [source for photographs in each.values() for source in photographs]
    failed = [sentence for walk in walks.values() for sentence in walk.failed]
    empty = [_holds_none(given, walks[given]) for given, photographs in each.items() if not photographs]
    if not found:
        raise UserError([*failed, *empty][0])
    told, left_out = [*empty, *failed], sum((walk.left_out for walk in walks.values()), Counter[str]())
    holders = [given for given, photographs in each.items() if photographs]
    is_one = len({_real(source) for source, _ in found}) == 1 and not any(
        _is_dir(_path(given)) for given in holders
    )
    if to_file and is_one:
        return Jobs(restore=[Job(found[0][0], target)], to_folder=False, empty=told, left_out=left_out)
    if to_file:
        what = "standard output takes one photograph" if target == PIPE else f"{out} names a file"
        raise UserError(
            f"{what}; name a folder for several photographs, with a / behind it if its name has an ending"
        )
    jobs: dict[Path, Job] = {}
    for source, name in found:
        if source == PIPE:
            raise UserError(
                f"standard input has no name to be written under in {out}; name a file, or - as output"
            )
        job = jobs.setdefault(target / name, Job(source, target / name))
        if not _same(job.source, source):
            raise UserError(
                f"{job.source} and {source} would both be written to {job.target}; restore them apart"
            )
    return Jobs(restore=list(jobs.values()), to_folder=True, empty=told, left_out=left_out)


def _path(text: str) -> Path:
    """Return `text` as a path; only "-" itself is the PIPE."""
    return PIPE if text == "-" else Path(text) if Path(text) != PIPE else PIPE.absolute()


def _names_a_file(out: str) -> bool:
    ends_in_slash = out.endswith((os.sep, f"{os.sep}."))
    return not ends_in_slash and bool(re.fullmatch(r"\.\w*[^\W\d_]\w*", Path(out).suffix))


def _photographs(given: str, walk: "Walk") -> Iterable[tuple[Path, Path]]:
    """List every photograph that `given` stands for, each with its name below the output folder."""
    path = _path(given)
    if path == PIPE or not (_is_dir(path) or _is_glob(given)):
        return [(path, Path(path.name))]
    return _matches(Path(given), walk) if _is_glob(given) else walk.inside(path, path)


def _holds_none(given: str, walk: "Walk") -> str:
    holds = "matches" if _is_glob(given) else "holds"
    seen = f" but {in_words(walk.left_out)}" if walk.left_out else ""
    return f"{given} {holds} no photographs{seen}; expected files that end in {', '.join(FORMATS)}"


def in_words(left_out: Counter[str]) -> str:
    """Return what was left out, the most frequent first, such as "3 .txt, 1 hidden"."""
    return ", ".join(
        f"{number} {why}" for why, number in sorted(left_out.items(), key=lambda one: (-one[1], one[0]))
    )


def _is_glob(given: str) -> bool:
    return glob.has_magic(given) and not os.path.lexists(given)


def _matches(pattern: Path, walk: "Walk") -> Iterator[tuple[Path, Path]]:
    """Yield the photographs that a glob matches, named from its first part with a wildcard on; ** is any folders."""
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts)
    base = Path(*fixed)
    for path in map(Path, sorted(glob.glob(str(pattern), recursive=True))):  # noqa: PTH207 - knows absolute ones
        name = path.relative_to(base)
        if not _is_dir(path):
            if walk.takes(path, base):
                yield path, name
        elif "**" not in pattern.parts:  # which has matched what is inside as well
            yield from ((inner, name / inside) for inner, inside in walk.inside(path, path))
    if "**" in pattern.parts:
        walk.failed += Walk(walk.out).unreadable(base)  # where a glob sees nothing, and says nothing


@dataclass
class Walk:
    """Walk through what an input stands for, which notes what it leaves out."""

    out: Path
    left_out: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def inside(
        self, folder: Path, given: Path, above: frozenset[Path] = frozenset()
    ) -> Iterator[tuple[Path, Path]]:
        """Yield the photographs in a folder and its sub-folders, also linked ones, each with its name below `given`."""
        real = _real(folder)
        if real in above:  # a link that leads back
            self.left_out["linked back"] += 1
            return
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            self.failed.append(
                f"{folder} cannot be read ({(error.strerror or 'no reason is given').lower()})"
            )
            return
        for path in entries:
            if path.name.startswith("."):
                self.left_out["hidden"] += 1
            elif _is_dir(path):
                if not _is_result(path, self.out, given):
                    yield from self.inside(path, given, above | {real})
            elif self.takes(path, given):
                yield path, path.relative_to(given)

    def takes(self, path: Path, given: Path) -> bool:
        """Return whether a file that is no folder is a photograph by its ending, and no result of an earlier run."""
        if _is_result(path, self.out, given):
            return False
        if path.suffix.lower() not in FORMATS:
            self.left_out[path.suffix.lower() or "without an ending"] += 1
            return False
        return True

    def unreadable(self, folder: Path) -> list[str]:
        """Return a sentence for each folder inside that cannot be read."""
        for _ in self.inside(folder, folder):
            pass
        return self.failed


def _is_result(path: Path, out: Path, given: Path) -> bool:
    """Return whether `path` is a result of an earlier run: it is in the folder `out`, and `out` is not the input."""
    return _below(path, out) and not _same(given, out)


def _below(path: Path, folder: Path) -> bool:
    return _real(path).is_relative_to(_real(folder))


def _same(one: Path, other: Path) -> bool:
    return _real(one) == _real(other)


def _is_dir(path: Path) -> bool:
    with suppress(OSError):  # it may not be looked at, or its name is too long
        return path.is_dir()
    return False


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path's own raises where links lead in a circle
