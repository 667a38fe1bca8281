"""What a server and its restoring process say to each other."""

import ctypes
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What the process restores with."""

    ticket: Path
    threads: int | None
    """None: as many as torch finds right."""
    memory: int
    """Bytes that the network may take beside its weights."""
    pixels: int
    """The most that a picture may have."""
    network: str = ""
    """A network of one's own that the ticket may name, from below the current folder; empty: none."""


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """A picture to restore."""

    data: bytes
    accept: str = ""
    """As the header of that name; empty: anything."""
    task: str = ""
    """What to undo, for a ticket that has to be told."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A restored picture, and what it took."""

    data: bytes
    media_type: str
    pixels: int
    seconds: float
    """To decode, restore and encode it, waiting left out."""


class Heartbeat(ctypes.Structure):
    """Memory that both see, without a lock: one that holds a lock may be stopped."""

    _fields_ = [("beats", ctypes.c_uint64), ("abandoned", ctypes.c_bool)]
    beats: int
    """Grows every BEAT_SECONDS while the process runs."""
    abandoned: bool
    """Whether nobody waits any more for the picture that is being restored."""


BEAT_SECONDS = 0.5
