"""What a network that does nothing makes of images."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def doing_nothing(x_BCHW: Tensor, scale: int) -> Tensor:
    """The images themselves, or a bicubic enlargement that leaves beyond the border out, as torch's does."""
    if scale == 1:
        return x_BCHW
    return F.interpolate(x_BCHW, scale_factor=scale, mode="bicubic", antialias=True)


def doing_nothing_to_levels(image_HWC: np.ndarray, scale: int) -> np.ndarray:
    """The same of a picture of integers, rounded and clipped."""
    top = np.iinfo(image_HWC.dtype).max
    large_1CHW = doing_nothing(torch.from_numpy(image_HWC.astype(np.float32)).permute(2, 0, 1)[None], scale)
    large_HWC = large_1CHW[0].permute(1, 2, 0).round().clamp(0, top)
    found: np.ndarray = large_HWC.numpy().astype(image_HWC.dtype)
    return found
