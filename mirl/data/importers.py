"""Importers, each of which turns one source of params.yaml into entries; pixels are read later, picture by picture."""

import csv
import hashlib
import importlib.resources
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from mirl.config import UserError
from mirl.data.bicubic import cut_to_multiple
from mirl.data.images import image_files, read_image
from mirl.data.sections import PHOTOGRAPHS, FolderSource, MirlSource, PairsSource, SkimageSource
from mirl.data.tasks import Table, Task


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """One picture that can be read: `where` names it to the user."""

    where: str
    read: Callable[[], np.ndarray]
    """Returns the pixels, uint8 height x width x 3; raises UserError if the picture is broken."""

    def cut_to(self, multiple: int) -> "ImageSource":
        """Return the same picture, cut at the bottom and the right to sides that are multiples of `multiple`."""
        return replace(self, read=lambda: cut_to_multiple(self.read(), multiple))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One picture of the data set, or one pair."""

    name: str
    """Name, unique in its split and task, without path separators."""
    split: str
    task: str = ""
    """Name of the restoration task; empty for a clean photograph, which serves every task."""
    clean: ImageSource
    degraded: ImageSource | None = None
    scale: int = 1
    """Side of the clean picture divided by the side of the degraded one."""
    depth: Callable[[], np.ndarray] | None = None
    """Returns the depth, float32 height x width in (0, 1]; 1 is the farthest point of the scene."""
    made: bool = False
    """True if the degraded picture is made of the clean one."""
    lost: str = ""
    """Problem of a file that has no partner; such an entry cannot be used."""


def skimage_photographs(source: SkimageSource, root: Path, tasks: Table) -> list[Entry]:
    """Return the parts of scikit-image's photographs that a table names, checked by the digest of their pixels.

    Raises UserError if the table does not exist.
    """
    table = root / source.photographs
    if not table.is_file():
        raise UserError(
            f"{table} does not exist; expected the table of photographs (`git checkout {table}` brings it back)"
        )
    with table.open(newline="", encoding="utf-8") as lines:
        return [_photograph(row) for row in csv.DictReader(lines)]


def folder(source: FolderSource, root: Path, tasks: Table) -> list[Entry]:
    """Return every image that lies directly in the folder, as a clean photograph."""
    place = root / source.path
    return [
        Entry(name=f"{place.resolve().name}-{path.stem}", split=source.split, clean=_file(path))
        for path in image_files(place)
    ]


def pairs(source: PairsSource, root: Path, tasks: Table) -> list[Entry]:
    """Return each picture of the input folder with its partner in the target folder; one without is `lost`."""
    inputs, targets = root / source.input, root / source.target
    task = tasks[source.task]
    partners, spare = _match(image_files(inputs), image_files(targets), task)
    prefix = inputs.parent.name if inputs.parent == targets.parent else inputs.name
    found = [
        Entry(
            name=f"{prefix}-{_key(degraded)}",
            split=source.split,
            task=source.task,
            clean=_file(clean).cut_to(task.scale),
            degraded=_file(degraded),
            scale=task.scale,
        )
        for degraded, clean in partners
    ]
    return found + [_lost(path, targets if path.parent == inputs else inputs, source) for path in spare]


def mirl_layout(source: MirlSource, root: Path, tasks: Table) -> list[Entry]:
    """Return the entries of the MIR-L authors' layout.

    The layout is SPLIT/denoise/SET/*, and SPLIT/TASK/SET/{input,target}/* for every paired task.
    """
    parts = mirl_parts(source, root, tasks)
    return [entry for part in parts for entry in IMPORTERS[part.kind](part, root, tasks)]


def mirl_parts(source: MirlSource, root: Path, tasks: Table) -> list[FolderSource | PairsSource]:
    """Return the folders and paired folders of the layout. Raises UserError if none is for training."""
    parts: list[FolderSource | PairsSource] = []
    paired = [name for name, task in tasks.items() if task.paired]
    for split in ("train", "val", "test"):
        for place in _folders(root / source.path / split / PHOTOGRAPHS):
            parts += [FolderSource(kind="folder", path=str(place.relative_to(root)), split=split)]
        for task in paired:
            for place in _folders(root / source.path / split / task):
                there = place.relative_to(root)
                input, target = f"{there}/input", f"{there}/target"
                parts += [PairsSource(kind="pairs", input=input, target=target, split=split, task=task)]
    if not any(part.split == "train" for part in parts):
        *others, last = (f"train/{folder}/SET" for folder in (PHOTOGRAPHS, *paired))
        listed = f"{', '.join(others)} or {last}" if others else last
        raise UserError(
            f"{root / source.path} has no {listed}; expected at least one of them, and the same under test"
        )
    return parts


IMPORTERS: dict[str, Callable[[Any, Path, Table], list[Entry]]] = {
    "skimage": skimage_photographs,
    "folder": folder,
    "pairs": pairs,
    "mirl": mirl_layout,
}
"""Kind of a source -> its importer(source, root, tasks)."""

_DEGRADED, _CLEAN = ("_rainy", "_hazy", "_input"), ("_gt", "_clean", "_target")


def _key(path: Path) -> str:
    for ending in (*_DEGRADED, *_CLEAN):
        if path.stem.endswith(ending):
            return path.stem.removesuffix(ending)
    return path.stem


def _match(
    inputs: Sequence[Path], targets: Sequence[Path], task: Task
) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Return the (degraded, clean) partners, and the files of either side that have none."""
    by_key = {_key(path): path for path in targets}
    partners, spare = [], []
    for path in inputs:
        names = (_key(path), *task.partners(path.stem))
        clean = next((by_key[name] for name in names if name in by_key), None)
        if clean is None:
            spare.append(path)
        else:
            partners.append((path, clean))
    used = {clean for _, clean in partners}
    return partners, spare + [path for path in targets if path not in used]


def _lost(path: Path, other: Path, source: PairsSource) -> Entry:
    lost = f"{path} has no partner in {other}; add it or remove the file"
    return Entry(name=path.stem, split=source.split, task=source.task, clean=_file(path), lost=lost)


def _folders(place: Path) -> list[Path]:
    """List the folders in `place`, also linked ones. Raises UserError if a link leads nowhere."""
    found = sorted(place.iterdir()) if place.is_dir() else []
    for path in found:
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path} is a link to what does not exist; mend it or remove it")
    return [path for path in found if path.is_dir()]


def _file(path: Path) -> ImageSource:
    return ImageSource(where=str(path), read=lambda: read_image(path))


def _photograph(row: dict[str, str]) -> Entry:
    where = f"{row['photograph']} of scikit-image"
    top, left, height, width = (int(row[key]) for key in ("top", "left", "height", "width"))
    box = (slice(top, top + height), slice(left, left + width))

    def read() -> np.ndarray:
        pixels = np.ascontiguousarray(read_image(_wheel_file(row["photograph"]))[box])
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        if digest != row["sha256"]:
            raise UserError(
                f"{where} ({row['name']}): its pixels have sha256 {digest}, expected {row['sha256']}; "
                "install the scikit-image that constraints.txt names"
            )
        return pixels

    def depth() -> np.ndarray:
        with np.load(_wheel_file(row["disparity"])) as archive:
            return _depth(archive["arr_0"])[box]

    return Entry(
        name=row["name"],
        split=row["split"],
        clean=ImageSource(where=where, read=read),
        depth=depth if row["disparity"] else None,
    )


def _wheel_file(name: str) -> Path:
    return Path(str(importlib.resources.files("skimage.data") / name))


def _depth(disparity: np.ndarray) -> np.ndarray:
    """Convert disparity in pixels to relative depth in (0, 1]; unmeasured pixels take the nearest measured one."""
    measured = np.isfinite(disparity) & (disparity > 0)
    rows, columns = distance_transform_edt(~measured, return_distances=False, return_indices=True)
    inverse = 1 / disparity[rows, columns]
    return np.ascontiguousarray(inverse / inverse.max(), dtype=np.float32)
