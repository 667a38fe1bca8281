"""Removal of JPEG artefacts, made on clean photographs.

Legend: H height, W width, C 3 colours.
"""

import io
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import AfterValidator, Field

from mirl.data.tasks.task import KindSection, Severity, Task

BLOCK = 16
"""Side of the squares in which JPEG with halved colour codes a picture, pixels."""


def in_order(limits: tuple[float, float]) -> tuple[float, float]:
    """Return `limits`, lowest and highest. Raises ValueError if they are swapped."""
    if limits[0] > limits[1]:
        raise ValueError(f"the lowest, {limits[0]}, is above the highest, {limits[1]}; swap them")
    return limits


Quality = Annotated[
    tuple[Annotated[int, Field(ge=1, le=95)], Annotated[int, Field(ge=1, le=95)]],
    Field(strict=False),  # YAML has lists
    AfterValidator(in_order),
]
"""Lowest and highest quality of Pillow's encoder; each quality between them is equally likely."""


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """JPEG encoding and decoding, with colour at half the resolution."""

    quality: tuple[int, int]
    anywhere: bool = True
    """True if the squares of the code begin anywhere, as in a part of a larger picture; False if in the corner."""

    def __call__(
        self, clean_HWC: np.ndarray, rng: np.random.Generator, depth_HW: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the decoded picture, float32 in [0, 1], in steps of 1/255; `depth_HW` is not used."""
        return to_float(self.code(to_bytes(clean_HWC), rng))

    def code(self, pixels_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Encode and decode a uint8 picture at a random quality; return uint8 of the same shape."""
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        top, left = (int(n) for n in rng.integers(BLOCK, size=2)) if self.anywhere else (0, 0)
        padded_HWC = np.pad(pixels_HWC, ((top, 0), (left, 0), (0, 0)), mode="edge")
        file = io.BytesIO()
        Image.fromarray(padded_HWC).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        with Image.open(file, formats=["JPEG"]) as picture:
            return np.asarray(picture)[top:, left:]


class JpegSection(KindSection):
    """Options of JPEG artefact removal: `{kind: jpeg, quality: [10, 60]}`."""

    kind: Literal["jpeg"]
    quality: Quality = (10, 60)

    def task(self, name: str) -> Task:
        """Return the task; training inputs are made on the fly; test pictures are coded from the corner, like files."""
        return Task(
            name=name,
            training=Jpeg(quality=self.quality),
            testing=Jpeg(quality=self.quality, anywhere=False),
            severities=(
                Severity(
                    name="quality",
                    unit="of Pillow's JPEG",
                    low=5,
                    high=95,
                    at=partial(_at, self, name),
                    trained=self.quality,
                    whole=True,
                ),
            ),
        )


def to_bytes(picture_HWC: np.ndarray) -> np.ndarray:
    """Convert a float picture in [0, 1] to uint8."""
    pixels_HWC: np.ndarray = np.rint(picture_HWC * 255).astype(np.uint8)
    return pixels_HWC


def to_float(pixels_HWC: np.ndarray) -> np.ndarray:
    """Convert a uint8 picture to float32 in [0, 1]."""
    picture_HWC: np.ndarray = np.multiply(pixels_HWC, np.float32(1 / 255), dtype=np.float32)
    return picture_HWC


def _at(section: JpegSection, name: str, quality: float) -> Task:
    return section.model_copy(update={"quality": (round(quality), round(quality))}).task(name)
