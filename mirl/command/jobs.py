"""Which photographs are restored to where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mirl.config import UserError
from mirl.restore.image_file import FORMATS


@dataclass(frozen=True)
class Job:
    """One photograph to restore."""

    source: Path
    target: Path


def plan(inputs: Sequence[Path], out: Path) -> list[Job]:
    """What `mirl restore INPUTS -o OUT` does.

    One file goes to the file `out`, if that has the ending of an image; else `out` is a folder and gets every
    photograph under its own name, those of a folder in the same sub-folders. UserError where a folder has no
    photographs, two would get the same name, or several a single file.
    """
    to_file = not out.is_dir() and (out.is_file() or out.suffix.lower() in Image.registered_extensions())
    if to_file and len(inputs) == 1 and not inputs[0].is_dir():
        return [Job(inputs[0], out)]
    if to_file:
        raise UserError(f"{out} is a file; name a folder for several photographs")
    jobs: dict[Path, Job] = {}
    for given in inputs:
        for source, name in _photographs(given, out):
            job = jobs.setdefault(out / name, Job(source, out / name))
            if not _same(job.source, source):
                raise UserError(
                    f"{job.source} and {source} would both be written to {job.target}; restore them apart"
                )
    return list(jobs.values())


def _photographs(given: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Every photograph that `given` stands for, and its name below the folder `out`."""
    if not given.is_dir():
        yield given, Path(given.name)
        return
    found = [
        path
        for path in sorted(given.rglob("*"))
        if path.suffix.lower() in FORMATS
        and not any(part.startswith(".") for part in path.relative_to(given).parts)
        and not (_below(path, out) and not _same(given, out))  # restored by an earlier run
        and path.is_file()
    ]
    if not found:
        raise UserError(f"{given} holds no photographs; expected files that end in {', '.join(FORMATS)}")
    yield from ((path, path.relative_to(given)) for path in found)


def _below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
