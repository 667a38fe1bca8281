"""Degradations that restoration tasks undo, as callable objects: degraded = degradation(clean, rng, depth).

Every degradation takes a float32 picture in [0, 1], height x width x 3, and a generator, and returns a new
float32 picture of the same shape, or of sides divided by the task's `scale`; the same generator state gives the same
picture.

Legend: H height, W width, C 3 colours.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.ndimage import zoom


class Degradation(Protocol):
    """Degradation of one picture."""

    def __call__(
        self, clean_HWC: np.ndarray, rng: np.random.Generator, depth_HW: np.ndarray | None = None
    ) -> np.ndarray: ...


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Degradation that adds white Gaussian noise."""

    sigma_255: float
    """Standard deviation on the scale of 0 to 255."""

    def __call__(
        self, clean_HWC: np.ndarray, rng: np.random.Generator, depth_HW: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the noisy picture, float32, NOT clipped and not quantised: the form for training."""
        noise_HWC = rng.standard_normal(clean_HWC.shape, dtype=np.float32)
        noise_HWC *= np.float32(self.sigma_255 / 255)
        noise_HWC += clean_HWC
        return noise_HWC


@dataclass(frozen=True, kw_only=True)
class Haze:
    """Haze by the scattering model I = J t + A (1 - t), t = exp(-beta d) (He et al., CVPR 2009, eq. 1 and 3).

    RESIDE's outdoor part has A in [0.8, 1] and beta in [0.04, 0.2] on estimated depths of up to some tens of
    metres (arXiv 1712.04143); here depth is relative, so the range is of beta times the farthest depth.
    """

    airlight: tuple[float, float] = (0.7, 1.0)
    optical_depth: tuple[float, float] = (0.4, 2.6)
    """Range of beta d at the farthest point, where d is 1."""

    def __call__(
        self, clean_HWC: np.ndarray, rng: np.random.Generator, depth_HW: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the hazy picture, float32 in [0, 1].

        `depth_HW` is in (0, 1], 1 at the farthest point; if it is None, a depth is made up.
        """
        if depth_HW is None:
            depth_HW = procedural_depth(clean_HWC.shape[:2], rng)
        airlight = np.float32(rng.uniform(*self.airlight))
        beta = rng.uniform(*self.optical_depth)
        transmission_HW1 = np.exp(np.float32(-beta) * depth_HW, dtype=np.float32)[..., None]
        return (clean_HWC - airlight) * transmission_HW1 + airlight


def procedural_depth(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Make up a depth (ours): a plane that rises to the top, plus smooth noise; float32 in (0, 1], H x W."""
    height, width = size
    rise, drift = rng.uniform(0.0, 0.8), rng.uniform(-0.2, 0.2)
    coarse = rng.random((4, 4), np.float32) * np.float32(rng.uniform(0.1, 0.5))
    smooth_HW = zoom(coarse, (height / 4, width / 4), order=1, grid_mode=True, mode="nearest")[
        :height, :width
    ]
    top_down = np.linspace(rise, 0, height, dtype=np.float32)[:, None]
    sideways = np.linspace(-drift, drift, width, dtype=np.float32)
    depth_HW = smooth_HW + top_down + sideways
    depth_HW += (
        np.float32(rng.uniform(0.1, 0.6)) - depth_HW.min()
    )  # something stands between us and the nearest
    normed_HW: np.ndarray = depth_HW / depth_HW.max()
    return normed_HW
