"""One test picture, and what the aliases point to."""

import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd

from flows.registry.registered_model import RegisteredModel, number
from flows.tracking.store import Store
from mirl.data.tasks import DEFAULT
from mirl.evaluation.scoring import EvaluateSection, Restore, TestImage, score

CHAMPION = "models:/mirl@champion"


def scored(restore: Restore) -> pd.DataFrame:
    """As the study's `evaluate` does it."""
    clean_HWC = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    image = TestImage(image="a", task=DEFAULT["denoise_15"], clean_HWC=clean_HWC, degraded_HWC=None)
    return score(restore, [image], EvaluateSection())


def alias(root: Path, name: str) -> str | None:
    """The number of the version that it points to."""
    found = RegisteredModel(Store(root)).aliased(name)
    return number(found) if found else None


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
