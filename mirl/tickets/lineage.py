"""Lineage of a ticket."""

from typing import Any

from pydantic import Field

from mirl.config import Section
from mirl.names import Digest, DigestOrNone, Name, NameOrNone


class Lineage(Section):
    """Work that made a ticket, and the tickets and data that the work was given."""

    name: Name
    arm: NameOrNone
    method: Name
    round: int = Field(ge=0)
    """Number of rounds that led to the ticket; the untrained network is 0."""
    parent: DigestOrNone
    """SHA-256 digest of the parent's ticket file; empty if there is no parent."""
    fingerprint: Digest
    seed: int = Field(ge=0)
    steps: int = Field(ge=0)
    """Optimiser steps of this round."""
    origin_step: int = Field(ge=0)
    data: DigestOrNone
    """Digest of the prepared data that the ticket was trained on; empty if it saw none."""
    settings: dict[str, Any]
    """Parameters that made the ticket, without those at their defaults: plain JSON data."""
