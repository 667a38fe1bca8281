"""Super-resolution: enlargement of pictures that a bicubic reduction made small.

Legend: H height, W width, C 3 colours.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from mirl.data.bicubic import reduced
from mirl.data.tasks.jpeg import to_bytes, to_float
from mirl.data.tasks.task import KindSection, Task


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """Bicubic reduction to 8 bits, as MATLAB makes the pictures of published test sets."""

    scale: int

    def __call__(
        self, clean_HWC: np.ndarray, rng: np.random.Generator, depth_HW: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the reduced picture, float32 in [0, 1], in steps of 1/255; nothing is drawn, `depth_HW` is not used."""
        return to_float(reduced(to_bytes(clean_HWC), self.scale))


class SuperResolveSection(KindSection):
    """Options of super-resolution: `{kind: super_resolve, scale: 4}`."""

    kind: Literal["super_resolve"]
    scale: int = Field(ge=2, le=4)
    """Side of the enlarged picture divided by the side of the small one."""

    def task(self, name: str) -> Task:
        """Return the task; training inputs are reduced on the fly, and test pictures where a study does not bring them."""
        reduction = Reduction(scale=self.scale)
        return Task(
            name=name, training=reduction, testing=reduction, scale=self.scale, partners=published_names
        )


def published_names(stem: str) -> tuple[str, ...]:
    """Return the stem of the large picture in the layout of published test sets: baby for babyx4.png."""
    return (re.sub(r"x[234]$", "", stem),)
