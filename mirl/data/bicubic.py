"""Bicubic reduction and enlargement of pictures, as MATLAB's `imresize` does both.

Published super-resolution is tested on pictures that MATLAB reduced. Each output sample is a weighted mean of input
samples, along the columns first, then along the rows. The weights are Keys' cubic kernel with a = -0.5 (IEEE Transactions
on Acoustics, Speech, and Signal Processing 29, 1981, eq. 15), which a reduction widens by its scale against aliasing.

Legend: H height, W width, C channels; N output samples of a side, T taps of the kernel.
"""

import math
from functools import lru_cache

import numpy as np

SUPPORT = 4
"""Width of the kernel, in samples of the coarser picture."""
STRIP = 16
"""Rows that `enlarged_levels` enlarges at a time, to save memory."""


def cut_to_multiple(pixels_HWC: np.ndarray, multiple: int) -> np.ndarray:
    """Cut a picture at the bottom and the right to sides that are multiples of `multiple` (a view)."""
    height, width = (side - side % multiple for side in pixels_HWC.shape[:2])
    return pixels_HWC[:height, :width]


def reduced(pixels_HWC: np.ndarray, scale: int) -> np.ndarray:
    """Reduce a uint8 picture, whose sides are multiples of `scale`, by `scale`; return uint8.

    Sample for sample what `imresize(picture, 1 / scale)` returns: MATLAB rounds to 8 bits after each of the two directions.
    """
    assert not any(side % scale for side in pixels_HWC.shape[:2]), f"{pixels_HWC.shape} is not cut to {scale}"
    for axis in (0, 1):
        means = _resized(pixels_HWC, axis, 1 / scale)
        pixels_HWC = np.floor(np.clip(means, 0, 255) + 0.5).astype(np.uint8)
    return pixels_HWC


def enlarged(picture_HWC: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge a picture by `scale`; return float32, neither rounded nor clipped. A `scale` of 1 changes nothing."""
    if scale > 1:
        for axis in (0, 1):
            picture_HWC = _resized(picture_HWC, axis, scale)
    return np.asarray(picture_HWC, np.float32)


def enlarged_levels(levels_HW: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge a plane of unsigned integers by `scale` to the same dtype: clipped, rounded half up. It is made in strips."""
    if scale == 1:
        return levels_HW
    height, width = levels_HW.shape
    large_HW = np.empty((height * scale, width * scale), levels_HW.dtype)
    mirrored_HW = np.pad(levels_HW, ((SUPPORT // 2, SUPPORT // 2), (0, 0)), mode="symmetric")
    for top in range(0, height, STRIP):
        strip_HW = enlarged(mirrored_HW[top : top + STRIP + SUPPORT], scale)[SUPPORT // 2 * scale :]
        part_HW = large_HW[top * scale : (top + STRIP) * scale]
        part_HW[:] = np.floor(np.clip(strip_HW[: len(part_HW)], 0, np.iinfo(levels_HW.dtype).max) + 0.5)
    return large_HW


def _resized(picture_HWC: np.ndarray, axis: int, scale: float) -> np.ndarray:
    """Resize along one axis by `scale`, below 1 for a reduction; return float64."""
    place_NT, weight_NT = _taps(picture_HWC.shape[axis], scale)
    shape = (-1, *(1,) * (picture_HWC.ndim - 1))
    first = np.moveaxis(picture_HWC, axis, 0)
    found = np.zeros((len(place_NT), *first.shape[1:]))
    for place_N, weight_N in zip(place_NT.T, weight_NT.T):
        found += weight_N.reshape(shape) * first[place_N]
    return np.moveaxis(found, 0, axis)


@lru_cache(maxsize=256)
def _taps(size: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (input samples, their weights) of every output sample along a side of `size` samples."""
    shrink = min(scale, 1.0)
    width = SUPPORT / shrink
    centre_N = np.arange(1, round(size * scale) + 1) / scale + (1 - 1 / scale) / 2  # counted from 1
    left_N = np.floor(centre_N - width / 2)
    place_NT = left_N[:, None] + np.arange(math.ceil(width) + 2)
    weight_NT = _cubic(shrink * (centre_N[:, None] - place_NT))
    weight_NT /= weight_NT.sum(1, keepdims=True)
    used = weight_NT.any(0)
    # Beyond the border the picture is mirrored, its edge included.
    mirrored_NT = np.concatenate([np.arange(size), np.arange(size)[::-1]])[
        (place_NT.astype(np.int64) - 1) % (2 * size)
    ]
    return mirrored_NT[:, used], weight_NT[:, used]


def _cubic(x: np.ndarray) -> np.ndarray:
    """Compute Keys' cubic convolution kernel, a = -0.5."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
