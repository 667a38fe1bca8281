"""Tiny pictures that the tests of `mirl.data` draw themselves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import zoom

Draw = Callable[..., np.ndarray]
"""Makes a picture: (seed, height, width)."""
Save = Callable[[Path, np.ndarray], Path]
"""Writes pixels to a file and makes its folder."""


def scene(seed: int, height: int = 80, width: int = 100) -> np.ndarray:
    """A smooth colour picture, uint8 H x W x 3; another seed is clearly another picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((5, 6, 3))
    pixels = zoom(coarse, (height / 5, width / 6, 1), order=1, grid_mode=True, mode="nearest")
    return (np.clip(pixels, 0, 1) * 255).astype(np.uint8)


@pytest.fixture
def draw() -> Draw:
    """scene(seed, height, width)."""
    return scene


@pytest.fixture
def save() -> Save:
    """Writes pixels to a file and makes its folder."""

    def write(path: Path, pixels: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def layout(tmp_path: Path, save: Save) -> Path:
    """A data set in the MIR-L layout: 3 photographs and 2 pairs of each task to train, 1 of each to test."""
    root = tmp_path / "photographs"
    for k in range(3):
        save(root / f"train/denoise/BSD/p{k}.png", scene(k))
    save(root / "val/denoise/V/v.png", scene(40))
    save(root / "test/denoise/T/t.png", scene(50))
    seed = 100
    for split, count in (("train", 2), ("test", 1)):
        for task, ending in (("derain", "rainy"), ("dehaze", "hazy")):
            for k in range(count):
                seed += 1
                clean = scene(seed)
                save(root / split / task / f"S/input/{task}{k}_{ending}.png", clean // 2 + 60)
                save(root / split / task / f"S/target/{task}{k}_gt.png", clean)
    return root
