"""Records of training steps, and the sinks that take them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

CURVES = ("loss", "learning_rate", "gradient_norm")
"""Numbers that every record has besides its step."""
TERM = "loss/"
"""Prefix of the column of a loss term."""


@dataclass(frozen=True, kw_only=True)
class TrainRecord:
    """Record of one logged training step."""

    step: int
    """Optimiser steps done so far, counted from the start of the schedule."""
    loss: float
    """Mean of the loss over the steps since the last record: the L1 error in [0, 1] units, or a sum of terms."""
    learning_rate: float
    gradient_norm: float
    """Global L2 norm of the gradient of the last step, before clipping."""
    terms: Mapping[str, float] = field(default_factory=dict)
    """Means of the loss terms over the same steps, by name; empty if the loss has only one term."""

    @classmethod
    def of_row(cls, row: Mapping[str, float]) -> "TrainRecord":
        """Make the record again from a row that `row` made."""
        numbers = {curve: float(row[curve]) for curve in CURVES}
        terms = {
            name.removeprefix(TERM): float(value) for name, value in row.items() if name.startswith(TERM)
        }
        return cls(step=int(row["step"]), terms=terms, **numbers)

    def row(self) -> dict[str, float]:
        """Return the record as one row of numbers; a loss term is named `loss/<name>`."""
        numbers = {name: value for name, value in vars(self).items() if name != "terms"}
        return numbers | {f"{TERM}{name}": value for name, value in self.terms.items()}


class Sink(Protocol):
    """Receiver of records. A sink never stops the work: it handles its own errors."""

    def log(self, record: TrainRecord) -> None: ...

    def close(self) -> None: ...


class NullSink:
    """Sink that discards every record."""

    def log(self, record: TrainRecord) -> None:
        pass

    def close(self) -> None:
        pass
