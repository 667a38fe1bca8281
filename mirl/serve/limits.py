"""What a server takes, and for how long."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of every picture; together they bound what the server holds in memory."""

    bytes: int = 20 * 2**20
    """Of a picture's file."""
    pixels: int = 24_000_000
    """Of a picture: known from its header, before anything is decoded."""
    seconds: float = 60
    """For a picture to arrive; then for it to be restored, waiting included; then for the answer to be fetched."""
    queue: int = 16
    """Pictures that may wait while one is restored."""
