"""How many CPU threads torch works with: a number of the whole process, which several callers set at the same time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_outside = 0


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Torch works with `count` threads inside (None: as many as before), and with as many as before after the last caller.

    Of several callers at a time the first one's `count` counts.
    """
    global _inside, _outside
    with _lock:
        if not _inside:
            _outside = torch.get_num_threads()
            torch.set_num_threads(count or _outside)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                torch.set_num_threads(_outside)


def outside() -> int:
    """Torch's number where nobody is inside."""
    with _lock:
        return _outside if _inside else torch.get_num_threads()
