"""Padding of an image by reflection to a multiple; a tiny image is reflected repeatedly.

Dims: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor


def round_up(size: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least `size`."""
    # Not -(-size // multiple): an exported graph divides negative numbers towards zero.
    return (size + multiple - 1) // multiple * multiple


def pad(x_BCHW: Tensor, multiple: int) -> Tensor:
    """Pad `x_BCHW` at the bottom and the right until height and width are multiples of `multiple`.

    The edge pixel is not repeated, except for a side of one pixel, which has nothing to reflect. Unlike `torch`'s own
    reflection, this one can add more pixels than the image holds, as a 1x1 image needs.
    """
    height, width = x_BCHW.shape[2:]
    rows = reflected(height, 0, round_up(height, multiple)).to(x_BCHW.device)
    columns = reflected(width, 0, round_up(width, multiple)).to(x_BCHW.device)
    return x_BCHW.index_select(2, rows).index_select(3, columns)


def reflected(size: int, start: int, stop: int) -> Tensor:
    """Return the source index of positions [start, stop) of a padded side; for size 3 and [0, 8): 0 1 2 1 0 1 2 1."""
    # A tensor, not a number: an exported graph has to find it for sizes that are not known yet.
    period = torch.full((), 2 * (size - 1)).clamp(min=1)
    place = torch.arange(start, stop) % period
    return torch.minimum(place, period - place)
