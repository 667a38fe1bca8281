"""Plan of a restoration: the photographs to restore, and where each result is written."""

import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

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
    """Sentences about inputs that stand for no photograph, beside others that do."""


def plan(inputs: Sequence[str], out: str) -> Jobs:
    """Plan the jobs of `mirl restore INPUTS -o OUT`.

    A single photograph is written to the file `out` if `out` has the suffix of an image. Otherwise `out` is a folder
    that takes every photograph under its own name, with the sub-folders of an input folder. Inputs may be globs; "-" is
    standard input or output. Raises UserError if no input stands for a photograph, two photographs would get the same
    name, or several would be written to a single file.
    """
    target = _path(out)
    to_file = target == PIPE or (
        not target.is_dir() and (target.is_file() or target.suffix.lower() in Image.registered_extensions())
    )
    each = {given: _photographs(given, target) for given in inputs}
    found = [source for photographs in each.values() for source in photographs]
    empty = [_holds_none(given) for given, photographs in each.items() if not photographs]
    if not found:
        raise UserError(empty[0])
    holders = [given for given, photographs in each.items() if photographs]
    is_one = len({_real(source) for source, _ in found}) == 1 and not any(
        _path(given).is_dir() for given in holders
    )
    if to_file and is_one:
        return Jobs(restore=[Job(found[0][0], target)], to_folder=False, empty=empty)
    if to_file:
        what = "standard output takes one photograph" if target == PIPE else f"{out} names a file"
        raise UserError(f"{what}; name a folder for several photographs")
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
    return Jobs(restore=list(jobs.values()), to_folder=True, empty=empty)


def _path(text: str) -> Path:
    """Return `text` as a path; only "-" itself is the PIPE."""
    return PIPE if text == "-" else Path(text) if Path(text) != PIPE else PIPE.absolute()


def _photographs(given: str, out: Path) -> list[tuple[Path, Path]]:
    """List every photograph that `given` stands for, each with its name below the folder `out`."""
    path = _path(given)
    if path == PIPE or not (path.is_dir() or _is_glob(given)):
        return [(path, Path(path.name))]
    return list(_matches(Path(given), out) if _is_glob(given) else _inside(path, out))


def _holds_none(given: str) -> str:
    holds = "matches" if _is_glob(given) else "holds"
    return f"{given} {holds} no photographs; expected files that end in {', '.join(FORMATS)}"


def _is_glob(given: str) -> bool:
    return glob.has_magic(given) and not Path(given).exists()


def _matches(pattern: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the photographs that a glob matches, named from its first part with a wildcard on; ** is any folders."""
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts)
    base = Path(*fixed)
    for path in map(Path, sorted(glob.glob(str(pattern), recursive=True))):  # noqa: PTH207 - knows absolute ones
        name = path.relative_to(base)
        if not path.is_dir():
            if path.suffix.lower() in FORMATS and not _is_result(path, out, base):
                yield path, name
        elif "**" not in pattern.parts:  # which has matched what is inside as well
            yield from ((inner, name / inside) for inner, inside in _inside(path, out))


def _inside(folder: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the photographs in a folder and its sub-folders, without hidden ones."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if (
            path.suffix.lower() in FORMATS
            and not hidden
            and not _is_result(path, out, folder)
            and path.is_file()
        ):
            yield path, name


def _is_result(path: Path, out: Path, given: Path) -> bool:
    """Return whether `path` is a result of an earlier run: it is in the folder `out`, and `out` is not the input."""
    return _below(path, out) and not _same(given, out)


def _below(path: Path, folder: Path) -> bool:
    return _real(path).is_relative_to(_real(folder))


def _same(one: Path, other: Path) -> bool:
    return _real(one) == _real(other)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path's own raises where links lead in a circle
