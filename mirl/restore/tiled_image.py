"""Conversion of a picture's levels into a network's tiles of numbers in [0, 1], and back.

Dims: B batch, C channels, H height, W width; h that of a part.
"""

import numpy as np
import torch
from torch import Tensor

from mirl.config import UserError
from mirl.restore.pad import reflected
from mirl.restore.tile import Span


class TiledImage:
    """Picture of uint8 or uint16 RGB pixels, read in tiles, whose restored pixels are written in parts.

    The restored picture is `scale` times as large. Raises UserError if the image has another dtype or shape, or is empty.
    """

    def __init__(self, image_HWC: np.ndarray, scale: int = 1) -> None:
        is_known = image_HWC.dtype in (np.uint8, np.uint16)
        if not is_known or image_HWC.ndim != 3 or image_HWC.shape[2] != 3 or not image_HWC.size:
            raise UserError(
                f"the image is {image_HWC.dtype} of shape {image_HWC.shape}; expected uint8 or uint16, "
                "height x width x 3"
            )
        self._image_HWC = image_HWC
        self._top = int(np.iinfo(image_HWC.dtype).max)
        self.height, self.width = image_HWC.shape[:2]
        self.restored_HWC = np.empty((self.height * scale, self.width * scale, 3), image_HWC.dtype)

    def tile(self, row: Span, column: Span) -> Tensor:
        """Return a tile as float32 1 x 3 x h x w in channels-last memory, filled by reflection beyond the picture."""
        rows = reflected(self.height, row.start, row.stop).numpy()
        columns = reflected(self.width, column.start, column.stop).numpy()
        tile_hwC = self._image_HWC[rows[:, None], columns].astype(np.float32)
        return torch.from_numpy(tile_hwC).div_(self._top).permute(2, 0, 1)[None]

    def write(self, top: int, part_BChW: Tensor) -> None:
        """Write restored rows from `top` on, clamped and rounded to the nearest level. Overwrites `part_BChW`."""
        levels_hWC = part_BChW.mul_(self._top).round_().clamp_(0, self._top)[0].permute(1, 2, 0).numpy()
        self.restored_HWC[top : top + len(levels_hWC)] = levels_hWC
