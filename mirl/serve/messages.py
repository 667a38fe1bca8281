"""Messages between a server and its restoring process."""

import ctypes
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Options of the restoring process."""

    ticket: Path
    threads: int | None
    """Number of CPU threads; None: torch's default."""
    memory: int
    """Bytes that restoring may take besides the weights of the network."""
    pixels: int
    """Largest number of pixels of a picture."""
    network: str = ""
    """The user's own network that the ticket may name, from below the current folder; empty: none."""


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """Request to restore a picture."""

    data: bytes
    accept: str = ""
    """Value of the Accept header; empty: any format."""
    task: str = ""
    """Restoration task, for a ticket whose routing asks for one."""
    work: float | None = None
    """Share of the full work, for a ticket whose routing has a choice; None: what is usual for it."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """Restored picture, with its size and the time that restoring took."""

    data: bytes
    media_type: str
    pixels: int
    seconds: float
    """Seconds to decode, restore and encode the picture, without waiting."""


class Heartbeat(ctypes.Structure):
    """Memory that both processes share without a lock: a process that holds a lock may be stopped."""

    _fields_ = [("beats", ctypes.c_uint64), ("abandoned", ctypes.c_bool)]
    beats: int
    """Counter that grows every BEAT_SECONDS while the process runs."""
    abandoned: bool
    """True if nobody waits any more for the picture that is being restored."""


BEAT_SECONDS = 0.5
