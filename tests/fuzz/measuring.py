"""What a piece of code takes of this process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Taken:
    """Filled when the piece is done."""

    seconds: float = 0.0
    """Of processors, all threads together: other programs on the machine do not count."""
    mib: float = 0.0
    """By which the process grew at most."""


@contextmanager
def measured() -> Iterator[Taken]:
    """Measures what is inside."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    taken = Taken()
    before, began = _status("VmRSS"), time.process_time()
    try:
        yield taken
    finally:
        taken.seconds = time.process_time() - began
        taken.mib = (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
