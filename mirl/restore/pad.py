"""Padding by reflection to a multiple, as often reflected as a tiny image needs.

Dims: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `size`."""
    # Not -(-size // multiple): an exported graph divides negative numbers towards zero.
    return (size + multiple - 1) // multiple * multiple


def pad(x_BCHW: Tensor, multiple: int) -> Tensor:
    """`x_BCHW` grown at the bottom and the right until height and width are multiples of `multiple`.

    The edge pixel is not repeated; a side of one pixel, which has nothing to reflect, is. `torch`'s own
    reflection refuses to reflect more than the image holds, a 1x1 image has to grow to a whole multiple.
    """
    height, width = x_BCHW.shape[2:]
    rows = reflected(height, 0, round_up(height, multiple)).to(x_BCHW.device)
    columns = reflected(width, 0, round_up(width, multiple)).to(x_BCHW.device)
    return x_BCHW.index_select(2, rows).index_select(3, columns)


def reflected(size: int, start: int, stop: int) -> Tensor:
    """Where the positions [start, stop) of a padded side come from: for 3 those up to 8 are 0 1 2 1 0 1 2 1."""
    # A tensor, not a number: an exported graph has to find it for sizes that are not known yet.
    period = torch.full((), 2 * (size - 1)).clamp(min=1)
    place = torch.arange(start, stop) % period
    return torch.minimum(place, period - place)
