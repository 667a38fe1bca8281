"""Made-up photographs and pairs for the dry run of a study whose data is missing."""

from pathlib import Path

import numpy as np
from PIL import Image

from mirl.data.sections import DataSection, FolderSource, PairsSource, Source
from mirl.data.tasks import TaskSection

ROOT = "photographs"
PICTURES = {"train": ("one", "two"), "test": ("three",)}
"""Split -> names of the photographs: two to train on and one to test with."""


def section(tasks: dict[str, TaskSection]) -> DataSection:
    """Return the data of a study of these tasks: photographs, and pairs for tasks that photographs cannot train."""
    sources: dict[str, Source] = {}
    for split in ("train", "test"):
        sources[split] = FolderSource(kind="folder", path=split, split=split)
        for name, task in tasks.items():
            if not task.task(name).training:
                sources[f"{split}-{name}"] = PairsSource(
                    kind="pairs", input=f"{name}/{split}/input", target=f"{name}/{split}/target", split=split, task=name
                )  # fmt: skip
    return DataSection(root=ROOT, sources=sources, tasks=tasks)


def write(made_up: DataSection, place: Path, side: int) -> None:
    """Write the pictures of the section below `place`: `side` x `side` pixels of colours that run into each other."""
    seed = 0
    for source in made_up.sources.values():
        assert isinstance(source, FolderSource | PairsSource)
        for name in PICTURES[source.split]:
            coarse_HWC = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse_HWC).resize((side, side), Image.Resampling.BICUBIC)
            seed += 1
            if isinstance(source, FolderSource):
                _save(picture, place / source.path / f"{name}.png")
            else:
                _save(picture, place / source.target / f"{name}.png")
                _save(picture.point(lambda value: value // 2 + 60), place / source.input / f"{name}.png")


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
