"""Addresses of tickets: a file path, or an address that an installed plug-in resolves."""

import re
from importlib.metadata import entry_points
from pathlib import Path

from mirl.config import UserError

GROUP = "mirl.tickets"
"""Group of entry points: scheme = function(address) -> path of a ticket file. mirl itself knows no registry."""
CHAMPION = "models:/mirl@champion"


def ticket_file(address: str) -> Path:
    """Return the ticket file at `address`, a path or `scheme:/...`. Raises UserError if nothing resolves the scheme."""
    scheme = re.match(r"([a-z][a-z0-9+.-]+):/", address)  # two letters at least: C:/ is a disk
    if not scheme:
        return Path(address)
    found = entry_points(group=GROUP, name=scheme[1])
    mending = "install mirl with its extra `pipeline`, or name a ticket file"
    if not found:
        raise UserError(f"nothing is installed that finds {address}; {mending}")
    try:
        resolve = next(iter(found)).load()
    except ImportError as error:
        raise UserError(f"what finds {address} cannot be loaded ({error}); {mending}") from None
    return Path(resolve(address))
