"""Limits of a server on the size, number and duration of requests."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on every picture; together they bound the memory of the server."""

    bytes: int = 20 * 2**20
    """Largest size of a picture's file in bytes."""
    pixels: int = 24_000_000
    """Largest number of pixels of a picture and of what is made of it, which its header tells before it is decoded."""
    seconds: float = 60
    """Seconds for a picture to arrive; then to be restored, waiting included; then for the answer to be fetched."""
    queue: int = 16
    """Largest number of pictures that may wait while one is restored."""
