"""Photograph in memory: its pixels and metadata."""

from dataclasses import dataclass, field, replace

import numpy as np

from mirl.data.bicubic import enlarged_levels
from mirl.restore.metadata import Metadata

SAMPLES = 4
"""Samples held for each pixel of a photograph, and for each of the restored one: three, and its alpha."""
MEMORY = 2**30
"""Default limit in bytes on the memory of restoring, besides the ticket: a file of some KB can claim any size."""


def bytes_held(height: int, width: int, itemsize: int, scale: int = 1) -> int:
    """Compute the bytes that a photograph and the restored one, `scale` times as large, take without a network.

    `itemsize` is the bytes of a level.
    """
    return height * width * (1 + scale**2) * SAMPLES * itemsize


@dataclass(frozen=True, kw_only=True, eq=False)
class Photograph:
    """Upright pixels of 8 or 16 bits, with the metadata of their file."""

    rgb_HWC: np.ndarray
    """Pixels, uint8 or uint16; a grey photograph has three equal channels."""
    grey: bool = False
    alpha_HW: np.ndarray | None = None
    """Alpha channel, of the same dtype as the pixels; None if the photograph is opaque."""
    metadata: Metadata = field(default_factory=Metadata)
    """What stands beside the pixels, such as colour profile, EXIF and XMP."""
    format: str = "PNG"
    """Format of the source file."""

    def with_pixels(self, rgb_HWC: np.ndarray) -> "Photograph":
        """Return a copy of the photograph with other pixels and the same metadata; larger pixels have a larger alpha."""
        scale = len(rgb_HWC) // len(self.rgb_HWC)
        alpha_HW = self.alpha_HW if self.alpha_HW is None else enlarged_levels(self.alpha_HW, scale)
        return replace(self, rgb_HWC=rgb_HWC, alpha_HW=alpha_HW)

    def samples_HWC(self) -> np.ndarray:
        """Return the samples as a file stores them, 1 to 4 channels; a grey level is the mean of the three channels."""
        colour_HWC = self._grey_HW1() if self.grey else self.rgb_HWC
        if self.alpha_HW is None:
            return np.ascontiguousarray(colour_HWC)
        assert self.alpha_HW.dtype == self.rgb_HWC.dtype, "pixels and alpha have as many bits"
        return np.concatenate([colour_HWC, self.alpha_HW[..., None]], axis=2)

    def _grey_HW1(self) -> np.ndarray:
        # What went in three times came out as three estimates of one level; the mean of three never ends in .5.
        wide = np.uint16 if self.rgb_HWC.dtype == np.uint8 else np.uint32
        mean_HW1: np.ndarray = (self.rgb_HWC.sum(2, wide, keepdims=True) + 1) // 3
        return mean_HW1.astype(self.rgb_HWC.dtype)
