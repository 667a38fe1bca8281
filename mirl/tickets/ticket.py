"""The ticket as a value."""

from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import Field

from mirl.config import Section
from mirl.names import Digest, DigestOrNone, Name, NameOrNone
from mirl.sparsity.accounting import Densities, densities
from mirl.sparsity.mask import Mask, State
from mirl.tickets.routing import Routing
from mirl.tickets.values import Values


class Lineage(Section):
    """Where a ticket comes from."""

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Ticket:
    """Weights with the mask *under which they were trained*; the next round's is cut when that is planned."""

    network: dict[str, Any]
    """Dump of the NetworkSection that builds it: plain JSON data."""
    state: State
    """Complete, on the CPU; masked elements are exactly 0."""
    mask: Mask
    routing: Routing = field(default_factory=Routing)
    lineage: Lineage
    values: Values = field(default_factory=Values)
    sha256: str = ""
    """Of the file that it was read from; empty before it is written."""

    @property
    def densities(self) -> Densities:
        """Kept fractions. Every floating-point tensor of the state counts as trainable."""
        return densities(self.mask, sum(t.numel() for t in self.state.values() if torch.is_floating_point(t)))
