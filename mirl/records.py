"""What training and evaluation report while they run, and who takes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

CURVES = ("loss", "learning_rate", "gradient_norm")
"""Numbers that every record has beside its step."""
TERM = "loss/"
"""Beginning of the column of a term of the loss."""


@dataclass(frozen=True, kw_only=True)
class TrainRecord:
    """One logged training step."""

    step: int
    """Optimiser steps done so far, counted from the start of the schedule."""
    loss: float
    """Mean of what is lowered, over the steps since the last record: the L1 error in [0, 1] units, or a sum of terms."""
    learning_rate: float
    gradient_norm: float
    """Global L2 norm before clipping, of the last step."""
    terms: Mapping[str, float] = field(default_factory=dict)
    """The means of the loss's terms by name, over the same steps; empty if the loss has only one."""

    @classmethod
    def of_row(cls, row: Mapping[str, float]) -> "TrainRecord":
        """The record that `row` made that row of."""
        numbers = {curve: float(row[curve]) for curve in CURVES}
        terms = {
            name.removeprefix(TERM): float(value) for name, value in row.items() if name.startswith(TERM)
        }
        return cls(step=int(row["step"]), terms=terms, **numbers)

    def row(self) -> dict[str, float]:
        """The record as one row of numbers, a term of the loss as `loss/<name>`."""
        numbers = {name: value for name, value in vars(self).items() if name != "terms"}
        return numbers | {f"{TERM}{name}": value for name, value in self.terms.items()}


class Sink(Protocol):
    """Takes records as they come. A sink never stops the work: its own trouble is its own to handle."""

    def log(self, record: TrainRecord) -> None: ...

    def close(self) -> None: ...


class NullSink:
    """Takes records and forgets them."""

    def log(self, record: TrainRecord) -> None:
        pass

    def close(self) -> None:
        pass
