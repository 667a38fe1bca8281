"""The process group that trains one network together, as one of its processes sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """A group of one process: its shard is the whole batch, and its answer is that of all.

    `mirl.training.ranks` has the group of several. Every process calls the same methods in the same order.
    """

    rank: int = 0
    """Of this process, from 0; the first saves, and is the one that is heard."""
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def shard(self, step: int, batch: int) -> range:
        """Numbers of the samples of this process in the `batch` samples of optimiser step `step`."""
        mine = batch // self.size
        first = step * batch + self.rank * mine
        return range(first, first + mine)

    def any_true(self, flag: bool) -> bool:
        """Whether one of the processes says so; waits for no GPU."""
        return self.any_of([flag])[0]

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """Of each of the flags, as many in every process, whether one of the processes has raised it; waits for no GPU."""
        return list(flags)

    def total(self, value: float | None) -> float | None:
        """The sum over all processes; None where one of them does not know its own."""
        return value

    def all_reduce_(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes into each of `tensors`: the same bytes everywhere."""

    def check_same(self, tensors: Sequence[Tensor]) -> None:
        """Raise AssertionError where the float32 `tensors` are not the same in every process."""


SINGLE_PROCESS = ProcessGroup()
