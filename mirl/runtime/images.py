"""Memory of the images between layers, which is used again: fresh memory costs as much time as a layer."""

import math
import threading
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

KEPT = 256 * 2**20
"""Bytes that stay allocated, for the next picture, when no image is in use."""


class Images:
    """Images to be written. The memory of one is used again when nobody holds it any more; any thread may ask."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept, self._lock = kept, threading.RLock()  # an image may go while another is asked for
        self._free: list[np.ndarray] = []
        self._used = 0

    def empty(self, shape: Sequence[int]) -> Tensor:
        """Return a float32 image whose content is undefined."""
        count = math.prod(shape)
        with self._lock:
            fitting = [buffer for buffer in self._free if len(buffer) >= count]
            if fitting:
                buffer = min(fitting, key=len)
                self._free = [other for other in self._free if other is not buffer]
            else:
                self._free = []  # too small to be of use soon
                buffer = np.empty(count, np.float32)  # in huge pages, which torch does not ask for
            self._used += 1
        image = buffer[:count].reshape(shape)
        weakref.finalize(image, self._give_back, buffer).atexit = False
        return torch.from_numpy(image)

    def _give_back(self, buffer: np.ndarray) -> None:
        with self._lock:
            self._free.append(buffer)
            self._used -= 1
            while self._used == 0 and sum(other.nbytes for other in self._free) > self._kept:
                self._free.pop(0)


IMAGES = Images()
"""Those of all networks."""
