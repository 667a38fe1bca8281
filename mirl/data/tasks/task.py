"""Restoration task as one object, which holds everything in mirl that depends on the task.

Legend: H height, W width, C 3 colours.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mirl.config import Section
from mirl.data.bicubic import enlarged
from mirl.data.degradations import Degradation


def no_others(stem: str) -> tuple[str, ...]:
    """Return no further stems: partners have the names that `PairsSource` lists."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """One restoration task of a study."""

    name: str
    """The name in columns, metrics and file names."""
    training: Degradation | None = None
    """Degrades clean patches while training; None if only pairs from files can train the task."""
    testing: Degradation | None = None
    """Makes the degraded test pictures that a study does not bring; None if that cannot be done or is not needed."""
    paired: bool = True
    """True if degraded pictures come from files or are made by `prepare`; False if the protocol adds noise to clean
    ones."""
    noise_sigma_255: float = 0.0
    """Standard deviation of the noise that the protocol adds at evaluation, on the scale of 0 to 255."""
    turned: bool = True
    """True if training patches of the task's pairs may be turned by 90 degrees."""
    scale: int = 1
    """Side of the restored picture divided by the side of the degraded one."""
    partners: Callable[[str], tuple[str, ...]] = no_others
    """Stem of a degraded file -> further stems that its clean partner may have."""
    severities: tuple["Severity", ...] = ()
    """Numbers by which the strength of the degradation can be set."""

    def nothing(self, degraded_HWC: np.ndarray) -> np.ndarray:
        """Return what is scored as `input_psnr_db`, the result of doing nothing: a bicubic enlargement by `scale`."""
        return enlarged(degraded_HWC, self.scale)

    def test_input(self, image: str, clean_HWC: np.ndarray, depth_HW: np.ndarray | None = None) -> np.ndarray:
        """Make the degraded uint8 picture of the test photograph `image`, seeded by its name and the task's alone.

        The sides of the photograph are multiples of `scale`.
        """
        assert self.testing, f"test pictures of {self.name} cannot be made"
        clean = np.asarray(clean_HWC, np.float32) / np.float32(255)
        seed = hashlib.sha256(f"{self.name} {image}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(seed[:8], "big"))
        degraded = np.clip(self.testing(clean, rng, depth_HW), 0, 1)
        made_HWC: np.ndarray = np.rint(degraded * 255).astype(np.uint8)
        return made_HWC


@dataclass(frozen=True, kw_only=True)
class Severity:
    """Number that says how strong a task's degradation is, with the same task at another value."""

    name: str
    unit: str
    low: float
    high: float
    """Ends of the range that makes sense, whichever of them is the stronger."""
    at: Callable[[float], Task]
    """Returns the task, under its own name, with test pictures of that strength alone."""
    trained: tuple[float, float] | None = None
    """Lowest and highest value that a training on made pictures meets; None if that cannot be said."""
    whole: bool = False
    """True if the values are whole numbers."""

    def values(self, points: int) -> list[float]:
        """Return `points` values evenly from `low` to `high` and the ends of the trained range, in order, each once."""
        even = [float(f"{value:.4g}") for value in np.linspace(self.low, self.high, points)]
        found = [*even, *(self.trained or ())]
        return sorted({float(round(value)) if self.whole else float(value) for value in found})


class KindSection(Section):
    """The options of one kind of task: an entry of `data.tasks` in params.yaml."""

    kind: str

    @abstractmethod
    def task(self, name: str) -> Task:
        """Return the task of that name with these options."""
