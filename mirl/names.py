"""The forms that names and digests from elsewhere must have before they are a path or a word on a command line.

A store, a header and a file say what they like: what has no such form is refused where it enters.
"""

import re
from typing import Annotated

from pydantic import Field

from mirl.config import UserError

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
Name = Annotated[str, Field(pattern=rf"^{NAME}$")]
"""Of a ticket, a round, an arm, a study: one word, fit for a path and for a command line."""
NameOrNone = Annotated[str, Field(pattern=rf"^({NAME})?$")]
"""The same, or nothing."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A sha256."""
DigestOrNone = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
"""The same, or nothing."""


def named(name: str, what: str) -> str:
    """`name`, once it has the form of a Name; UserError, which says what it is of, otherwise."""
    if not re.fullmatch(NAME, name):
        raise UserError(
            f"{what} is {name!r}, expected letters, digits, `.`, `-` and `_`, a letter or a digit first, 100 at most"
        )
    return name
