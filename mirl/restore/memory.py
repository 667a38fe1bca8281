"""How much memory a network needs for each pixel, found without running it.

Dims: B batch, C channels, H height, W width.
"""

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from mirl.restore.pad import round_up

PROBE = 128
"""Side of the imaginary picture that is measured, pixels: what is needed in all grows with the area."""
ALLOWANCE = 1.6
"""What the kernels take for themselves (reordered inputs, buffers of products), as a factor of the tensors.

Seen as the growth of the resident set on a CPU: 1.15 to 1.26 for the small net, 1.47 to 1.61 for PromptIR.
"""


def bytes_per_pixel(network: nn.Module, multiple: int) -> float:
    """Peak memory of `network` while it restores, bytes for each pixel, without the weights.

    The forward pass is done on torch's meta device: every tensor has a size and a life, and no content.
    """
    side = round_up(PROBE, multiple)
    weights = {name: tensor.detach().to("meta") for name, tensor in network.state_dict().items()}
    with torch.inference_mode(), _Live() as live:
        image_BCHW = torch.empty(1, 3, side, side, device="meta").to(memory_format=torch.channels_last)
        functional_call(network, weights, (image_BCHW,))
    return ALLOWANCE * live.peak / side**2


class _Live(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, and the most there ever were."""

    def __init__(self) -> None:
        super().__init__()
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
