"""Memory that a network needs for each pixel, found without running the network.

Dims: B batch, C channels, H height, W width.
"""

import math
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from mirl.restore.pad import round_up
from mirl.restore.photograph import bytes_held

PROBE = 128
"""Side in pixels of the image for which memory is measured: the memory grows in proportion to the area."""
ALLOWANCE = 2.1
"""Factor on the memory of the tensors for the kernels' own buffers (reordered inputs, products) and for fragmentation.

Measured as the growth of the resident set on a CPU: 1.15 to 1.26 for the small net on one image, 1.47 to 1.61 for
PromptIR; with many tiles one after the other up to 2.
"""
ONCE = 64 * 2**20
"""Bytes for libraries loaded with the first photograph, and for memory the allocator keeps; measured: up to 55 MiB."""
BAND = 16
"""Bytes for each restored pixel of a row of tiles while the row is assembled: three float32 and their levels."""


def pixels_in(memory: int, per_pixel: float, size: tuple[int, int], itemsize: int, scale: int = 1) -> int:
    """Compute the pixels that a network taking `per_pixel` bytes for each can work on at a time, within `memory` bytes.

    The result is all pixels of an image of `size` (height, width) if the image fits, else those of an about square
    tile, with memory left for a row of such tiles. `itemsize` is the number of bytes of a level, and `scale` the side of
    the restored image over that of the image.
    """
    height, width = size
    band = BAND * scale**2
    rest = memory - ONCE - bytes_held(height, width, itemsize, scale)
    if rest >= height * width * per_pixel:
        return height * width
    # side**2 * (per_pixel + band) + side * width * band = rest
    half = width * band / (per_pixel + band) / 2
    return int((math.sqrt(half**2 + max(rest, 0) / (per_pixel + band)) - half) ** 2)


def least_memory(
    pixels: int, per_pixel: float, size: tuple[int, int], itemsize: int, scale: int = 1
) -> float:
    """Compute the memory in bytes for which `pixels_in` returns at least `pixels`."""
    height, width = size
    side, band = math.sqrt(pixels + 1), BAND * scale**2
    held = bytes_held(height, width, itemsize, scale)
    return ONCE + held + side**2 * (per_pixel + band) + side * width * band


def bytes_per_pixel(network: nn.Module, multiple: int) -> float:
    """Compute the peak memory of `network` during a forward pass, in bytes per pixel, without the weights.

    The forward pass runs on torch's meta device, where a tensor has a size and a lifetime but no content.
    """
    side = round_up(PROBE, multiple)
    weights = {name: tensor.detach().to("meta") for name, tensor in network.state_dict().items()}
    live = _Live()
    with torch.inference_mode(), live:
        image_BCHW = torch.empty(1, 3, side, side, device="meta").to(memory_format=torch.channels_last)
        functional_call(network, weights, (image_BCHW,), tie_weights=False)  # sub-networks share some
    return ALLOWANCE * live.peak / side**2


class _Live(TorchDispatchMode):
    """Counter of the bytes of live tensors, and of their peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is untyped
        self._storages: set[int] = set()
        self._now = 0
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self._born(tensor.untyped_storage())
        return result

    def _born(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._storages:
            self._storages.add(key)
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._gone, key, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self._now -= size
