"""A study of seconds: tiny made-up photographs, a tiny network, a handful of steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mirl.study.params import Params
from mirl.study.study import Study

VALUES: dict[str, Any] = {
    "study": "tiny",
    "data": {
        "root": "photographs",
        "sources": {
            "train": {"kind": "folder", "path": "train", "split": "train"},
            "test": {"kind": "folder", "path": "test", "split": "test"},
        },
    },
    "network": {
        "name": "nafnet",
        "options": {"width": 4, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 1},
    },
    "train": {
        "steps": 6,
        "learning_rate": 0.001,
        "record_every": 3,
        "batches": {"batch": 5, "patch": 16},
    },
    "arms": {
        "dense": {"method": "dense"},
        "global": {"method": "imp", "schedule": "authors", "fraction": 0.5},
        "layers": {"method": "imp", "schedule": "authors", "fraction": 0.5, "scope": "layerwise"},
        "random": {"method": "random"},
        "reinit": {"method": "reinit"},
        "oneshot": {"method": "oneshot", "density": 0.25},
        "longer": {"method": "replay"},
        "routed": {
            "method": "class_pruning",
            "structure": {"kind": "unstructured"},
            "router": {"channels": 2, "patch": 16},
        },
        "png": {"method": "png", "goal": 0.3, "structure": {"kind": "unstructured"}},
    },
    "rounds": {
        "dense": {"arm": "dense", "after": "init"},
        "global-r1": {"arm": "global", "after": "dense"},
        "global-r2": {"arm": "global", "after": "global-r1"},
        "layers-r1": {"arm": "layers", "after": "dense"},
        "random-r2": {"arm": "random", "after": "global-r2"},
        "reinit-r2": {"arm": "reinit", "after": "global-r2"},
        "oneshot-r2": {"arm": "oneshot", "after": "dense"},
        "longer-r1": {"arm": "longer", "after": "dense"},
        "routed-r1": {"arm": "routed", "after": "dense"},
        "routed-r2": {"arm": "routed", "after": "routed-r1"},
        "png-15-r1": {"arm": "png", "after": "init", "task": "denoise_15"},
        "png-15-r2": {"arm": "png", "after": "png-15-r1", "task": "denoise_15"},
        "png-rain-r1": {"arm": "png", "after": "png-15-r2", "task": "derain"},
        "png-rain-r2": {"arm": "png", "after": "png-rain-r1", "task": "derain"},
    },
    "evaluate": {"protocols": ["paper", "strict"], "pictures": 1},
    "promote": {},
    "machine": {"threads": 1},
}


def photograph(seed: int) -> np.ndarray:
    """Smooth colours with some edges, 40 x 48 pixels."""
    rng = np.random.default_rng(seed)
    coarse_HWC = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse_HWC).resize((48, 40), Image.Resampling.BICUBIC))


def write_study(root: Path) -> Study:
    """Photographs and params.yaml below `root`."""
    for split, count in (("train", 4), ("test", 2)):
        folder = root / "photographs" / split
        folder.mkdir(parents=True)
        for number in range(count):
            seed = number + 100 * (split == "test")
            Image.fromarray(photograph(seed)).save(folder / f"{split}-{number}.png")
    (root / "params.yaml").write_text(yaml.safe_dump(VALUES, sort_keys=False))
    return Study(root=root, params=Params.read(VALUES, "params.yaml"))


@pytest.fixture(scope="session")
def make_study() -> Callable[[Path], Study]:
    """Writes the study into a folder of its own."""
    return write_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return write_study(tmp_path)
