"""What a server and its restoring process say to each other."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Means:
    """What the process restores with."""

    ticket: Path
    threads: int | None
    """None: as many as torch finds right."""
    memory: int
    """Bytes that the network may take beside its weights."""
    pixels: int
    """The most that a picture may have."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A picture to restore."""

    data: bytes
    accept: str = ""
    """As the header of that name; empty: anything."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A restored picture, and what it took."""

    data: bytes
    media_type: str
    pixels: int
    seconds: float
    """To decode, restore and encode it, waiting left out."""
