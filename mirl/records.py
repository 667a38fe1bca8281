"""What training and evaluation report while they run, and who takes it."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class TrainRecord:
    """One logged training step."""

    step: int
    """Optimiser steps done so far, counted from the start of the schedule."""
    loss: float
    """Mean L1 error in [0, 1] units over the steps since the last record."""
    learning_rate: float
    gradient_norm: float
    """Global L2 norm before clipping, of the last step."""


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
