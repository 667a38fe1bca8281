"""The processes that train one network together, seen from one of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class World:
    """A process that trains alone: its part is the whole, and what it says is agreed.

    `mirl.training.ranks` has the one of several. Every process calls the same methods in the same order.
    """

    rank: int = 0
    """Of this process, from 0; the first saves, and is the one that is heard."""
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def part(self, step: int, batch: int) -> range:
        """Numbers of the samples of this process in the `batch` samples of optimiser step `step`."""
        mine = batch // self.size
        first = step * batch + self.rank * mine
        return range(first, first + mine)

    def any(self, flag: bool) -> bool:
        """Whether one of the processes says so; waits for no GPU."""
        return flag

    def total(self, value: float | None) -> float | None:
        """The sum over all processes; None where one of them does not know its own."""
        return value

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes into each of `tensors`: the same bytes everywhere."""

    def check_same(self, tensors: Sequence[Tensor]) -> None:
        """Raise AssertionError where the float32 `tensors` are not the same in every process."""


ALONE = World()
