"""PSNR and SSIM, in RGB and in Y, of float pictures in [0, 1].

Legend: H height, W width, P planes (R, G, B, Y), C colour channels (R, G, B).

All planes and all moments of a pair go through one depth-wise, channels-last convolution in float32, which
agrees with scikit-image in float64 to 1e-6.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PSNR_CEILING_DB = 100.0
"""PSNR of identical pictures, instead of infinity, so that means and JSON stay finite (ours)."""

_Y_WEIGHTS = (65.481 / 255, 128.553 / 255, 24.966 / 255)
_Y_OFFSET = 16 / 255


@dataclass(frozen=True, kw_only=True)
class Window:
    """The local window of SSIM: separable weights, and whether variances are divided by n - 1."""

    taps: tuple[float, ...]
    unbiased: bool


def _gaussian(size: int, sigma: float) -> tuple[float, ...]:
    weights = [math.exp(-0.5 * ((i - size // 2) / sigma) ** 2) for i in range(size)]
    return tuple(weight / sum(weights) for weight in weights)


UNIFORM_7 = Window(taps=(1 / 7,) * 7, unbiased=True)
"""7x7, equal weights, sample covariance: scikit-image's default, in the PromptIR and MIR-L tables."""

GAUSSIAN_11 = Window(taps=_gaussian(11, 1.5), unbiased=False)
"""11x11, Gaussian of sigma 1.5: Wang et al. 2004 (Image quality assessment), section III-B."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """PSNR and SSIM of a picture against the clean one, in RGB and in Y."""

    psnr_db: float
    ssim: float
    psnr_y_db: float
    ssim_y: float


def luma(rgb_HWC: Tensor) -> Tensor:
    """Compute BT.601 luma, studio swing, as MATLAB's rgb2ycbcr, unrounded: [0, 1] RGB to HW in [16/255, 235/255]."""
    red, green, blue = _Y_WEIGHTS
    return _Y_OFFSET + red * rgb_HWC[..., 0] + green * rgb_HWC[..., 1] + blue * rgb_HWC[..., 2]


def psnr_db(image_HWC: np.ndarray, clean_HWC: np.ndarray) -> float:
    """Compute PSNR over all elements, peak 1, in dB; at most `PSNR_CEILING_DB`."""
    difference = np.asarray(image_HWC, np.float64) - np.asarray(clean_HWC, np.float64)
    return _decibels(float(np.mean(difference**2)))


def ssim(image_HWC: np.ndarray, clean_HWC: np.ndarray, window: Window) -> float:
    """Compute SSIM, mean over channels and over the pixels whose window lies inside (Wang et al. 2004, eq. 13).

    K1 = 0.01, K2 = 0.03, peak 1. Raises ValueError if a side is shorter than the window.
    """
    planes = _ssim_by_plane(_tensor(image_HWC), _tensor(clean_HWC), window)
    return sum(planes) / len(planes)


def measure(image_HWC: np.ndarray, clean_HWC: np.ndarray, window: Window) -> Quality:
    """Measure PSNR and SSIM of float RGB in [0, 1], HxWx3, in RGB and in Y at once.

    Raises ValueError if a side is shorter than the window.
    """
    image_HWP, clean_HWP = _with_luma(_tensor(image_HWC)), _with_luma(_tensor(clean_HWC))
    errors = (image_HWP - clean_HWP).square_().mean(dim=(0, 1), dtype=torch.float64).tolist()
    planes = _ssim_by_plane(image_HWP, clean_HWP, window)
    return Quality(
        psnr_db=_decibels(sum(errors[:3]) / 3),
        ssim=sum(planes[:3]) / 3,
        psnr_y_db=_decibels(errors[3]),
        ssim_y=planes[3],
    )


def _ssim_by_plane(image_HWP: Tensor, clean_HWP: Tensor, window: Window) -> Sequence[float]:
    # Shifted by 0.5, squares are four times smaller, and so is what float32 loses in E[x^2] - E[x]^2.
    x, y = image_HWP - 0.5, clean_HWP - 0.5
    moments = _filter(torch.cat((x, y, x * x + y * y, x * y), dim=2), window.taps)
    mean_x, mean_y, squares, product = moments.split(x.shape[2], dim=1)
    size = len(window.taps) ** 2
    bias = size / (size - 1) if window.unbiased else 1.0
    c1, c2 = 0.01**2, 0.03**2
    means_product, means_squares = mean_x * mean_y, (mean_x * mean_x).addcmul_(mean_y, mean_y)
    variances = (squares - means_squares).mul_(bias)
    covariance = (product - means_product).mul_(bias)
    shift = (mean_x + mean_y).mul_(0.5).add_(0.25)  # back to unshifted means: (a + 0.5)(b + 0.5) = ab + shift
    luminance = means_product.add_(shift).mul_(2).add_(c1)
    similarity = luminance.mul_(covariance.mul_(2).add_(c2))
    similarity.div_(means_squares.add_(shift, alpha=2).add_(c1).mul_(variances.add_(c2)))
    by_plane: list[float] = similarity.mean(dim=(0, 2, 3), dtype=torch.float64).tolist()
    return by_plane


def _filter(planes_HWP: Tensor, taps: tuple[float, ...]) -> Tensor:
    """Apply a separable window to each plane, only where the window lies inside: 1xPxH'xW'.

    Raises ValueError if a side is shorter than the window.
    """
    planes, size = planes_HWP.shape[2], len(taps)
    if min(planes_HWP.shape[:2]) < size:
        raise ValueError(f"SSIM needs at least {size}x{size} pixels, got {tuple(planes_HWP.shape[:2])}")
    weights = torch.tensor(taps, dtype=planes_HWP.dtype).repeat(planes, 1)
    planes_BPHW = planes_HWP.permute(2, 0, 1)[None]
    down = F.conv2d(planes_BPHW, weights.view(planes, 1, size, 1), groups=planes)
    return F.conv2d(down, weights.view(planes, 1, 1, size), groups=planes)


def _with_luma(rgb_HWC: Tensor) -> Tensor:
    return torch.cat((rgb_HWC, luma(rgb_HWC)[..., None]), dim=2)


def _tensor(image: np.ndarray) -> Tensor:
    image = np.ascontiguousarray(image, np.float32)
    if not image.flags.writeable:
        image = image.copy()
    return torch.from_numpy(image if image.ndim == 3 else image[..., None])


def _decibels(mean_square: float) -> float:
    if mean_square <= 10 ** (-PSNR_CEILING_DB / 10):
        return PSNR_CEILING_DB
    return -10 * math.log10(mean_square)
