"""Retention of freed CPU memory during training, as every step allocates the same large tensors again.

glibc returns blocks of more than 32 MiB to the kernel at once, and the next step waits for each of their pages again.
Other C libraries are left as they are.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Numbers of `mallopt` parameters in glibc (malloc.h)."""

_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
_USUAL = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}
"""Values that glibc's dynamic adjustment reaches after large blocks; the first call of `mallopt` disables it."""


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory in the process within the block; afterwards return it to the system."""
    libc = ctypes.CDLL(None)
    glibc = hasattr(libc, "gnu_get_libc_version")
    for option, value in _KEEPING.items() if glibc else ():
        libc.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in _USUAL.items() if glibc else ():
            libc.mallopt(option, value)
        if glibc:
            libc.malloc_trim(0)
