"""Patterns that names and digests from outside must match before they are used in a path or on a command line.

A store, a header and a file may hold any text: what does not match is refused where it enters.
"""

import re
from typing import Annotated

from pydantic import Field

from mirl.config import UserError

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
Name = Annotated[str, Field(pattern=rf"^{NAME}$")]
"""Name of a ticket, a round, an arm or a study: one word, fit for a path and for a command line."""
NameOrNone = Annotated[str, Field(pattern=rf"^({NAME})?$")]
"""A Name, or the empty string."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 digest in 64 hex digits."""
DigestOrNone = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
"""A Digest, or the empty string."""


def named(name: str, what: str) -> str:
    """Return `name` if it matches NAME. Raises UserError, which says by `what` where `name` is from, otherwise."""
    if not re.fullmatch(NAME, name):
        raise UserError(
            f"{what} is {name!r}, expected letters, digits, `.`, `-` and `_`, a letter or a digit first, 100 at most"
        )
    return name
