"""Keeps the memory that a training frees on the CPU with its process: every step asks for the same large tensors again.

glibc gives blocks of more than 32 MiB back to the kernel at once, and the next step waits for each of their pages anew.
Other C libraries are left as they are.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""glibc's numbers for what `mallopt` sets (malloc.h)."""

_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
_USUAL = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}
"""What glibc's own adjusting comes to in a process that has used large blocks; it ends with the first call."""


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Inside, freed memory stays with the process; afterwards it is given back to the system."""
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
