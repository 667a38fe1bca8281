"""Where a ticket comes from."""

from typing import Any

from pydantic import Field

from mirl.config import Section
from mirl.names import Digest, DigestOrNone, Name, NameOrNone


class Lineage(Section):
    """The work that made a ticket, and the tickets and data that it was given."""

    name: Name
    arm: NameOrNone
    method: Name
    round: int = Field(ge=0)
    """Rounds that led here, the untrained network being 0."""
    parent: DigestOrNone
    """sha256 of the parent's ticket file; empty where there is none."""
    fingerprint: Digest
    seed: int = Field(ge=0)
    steps: int = Field(ge=0)
    """Optimiser steps of this round."""
    origin_step: int = Field(ge=0)
    data: DigestOrNone
    """Digest of the prepared data it was trained on; empty where it saw none."""
    settings: dict[str, Any]
    """The parameters that made it, those at their defaults left out: plain JSON data."""
