"""Undoing of what social networks do to photographs: scaling down and encoding as JPEG, often more than once.

Each platform scales and compresses in a way of its own (Giudice et al., arXiv 1610.06347). A picture that is shared on
goes through this again (Wang et al., arXiv 2107.10833, "high-order degradation"). The ranges are ours: 1.0 is a picture
within a platform's limits, 0.4 one of 4,000 pixels where the limit is 1,600.

Legend: H height, W width, C 3 colours.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import AfterValidator, Field

from mirl.data.tasks.jpeg import Jpeg, Quality, in_order, to_bytes, to_float
from mirl.data.tasks.task import KindSection, Severity, Task

Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Social:
    """Scaling down, encoding as JPEG once or twice, and scaling back up to the original size."""

    scale: tuple[float, float]
    jpeg: Jpeg
    twice: float

    def __call__(
        self, clean_HWC: np.ndarray, rng: np.random.Generator, depth_HW: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the shared picture, float32 in [0, 1], in steps of 1/255; `depth_HW` is not used."""
        height, width = clean_HWC.shape[:2]
        scale = rng.uniform(*self.scale)
        small = (max(round(width * scale), 1), max(round(height * scale), 1))
        pixels_HWC = _resized(to_bytes(clean_HWC), small)
        for _ in range(2 if rng.random() < self.twice else 1):
            pixels_HWC = self.jpeg.code(pixels_HWC, rng)
        return to_float(_resized(pixels_HWC, (width, height)))


class SocialSection(KindSection):
    """Options of social-network restoration: `{kind: social, scale: [0.4, 1.0], quality: [50, 90], twice: 0.5}`."""

    kind: Literal["social"]
    scale: Annotated[tuple[Share, Share], Field(strict=False), AfterValidator(in_order)] = (0.4, 1.0)
    """Smallest and largest side after scaling down over the side before; drawn evenly between them."""
    quality: Quality = (50, 90)
    twice: float = Field(default=0.5, ge=0, le=1)
    """Share of the pictures that are shared on and so encoded a second time, in a quality drawn anew."""

    def task(self, name: str) -> Task:
        """Return the task; training inputs are made on the fly; test pictures are coded from the corner, like files."""

        def degradation(anywhere: bool) -> Social:
            return Social(
                scale=self.scale, jpeg=Jpeg(quality=self.quality, anywhere=anywhere), twice=self.twice
            )

        quality = Severity(
            name="quality", unit="of Pillow's JPEG", low=5, high=95, at=partial(_at_quality, self, name),
            trained=self.quality, whole=True,
        )  # fmt: skip
        scale = Severity(
            name="scale", unit="of the sides", low=0.2, high=1, at=partial(_at_scale, self, name),
            trained=self.scale,
        )  # fmt: skip
        return Task(
            name=name, training=degradation(True), testing=degradation(False), severities=(quality, scale)
        )


def _resized(pixels_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize uint8 to `size` (width, height): bicubic, with a wider kernel on the way down against aliasing."""
    return np.asarray(Image.fromarray(pixels_HWC).resize(size, Image.Resampling.BICUBIC))


def _at_quality(section: SocialSection, name: str, quality: float) -> Task:
    return section.model_copy(update={"quality": (round(quality), round(quality))}).task(name)


def _at_scale(section: SocialSection, name: str, scale: float) -> Task:
    return section.model_copy(update={"scale": (scale, scale)}).task(name)
