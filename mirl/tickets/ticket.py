"""The ticket as a value."""

from dataclasses import dataclass, field

from mirl.tickets.lineage import Lineage
from mirl.tickets.model import SparseModel
from mirl.tickets.values import Values


@dataclass(frozen=True, kw_only=True, eq=False)
class Ticket(SparseModel):
    """Model on the CPU as it was trained, with its lineage.

    The masks of the next round are cut when that round is planned, and never stored with weights that were not trained
    under them.
    """

    lineage: Lineage
    values: Values = field(default_factory=Values)
    sha256: str = ""
    """SHA-256 digest of the file that it was read from; empty before it is written."""
