"""Number of CPU threads that torch uses: a setting of the whole process that several callers may set at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_outside = 0


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads within the block (None: as many as before); the last caller restores the number.

    If several callers are inside at a time, the `count` of the first one applies.
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
    """Return torch's number of threads outside of every `torch_threads` block."""
    with _lock:
        return _outside if _inside else torch.get_num_threads()
