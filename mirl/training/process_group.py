"""Process group that trains one network together, as seen by one of its processes."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """Group of one process, whose shard is the whole batch, and whose answer is the answer of all.

    `mirl.training.ranks` has the group of several. Every process calls the same methods in the same order.
    """

    rank: int = 0
    """Number of this process, from 0; process 0 saves checkpoints and reports."""
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def shard(self, step: int, batch: int) -> range:
        """Return the numbers of this process's samples among the `batch` samples of optimiser step `step`."""
        mine = batch // self.size
        first = step * batch + self.rank * mine
        return range(first, first + mine)

    def any_true(self, flag: bool) -> bool:
        """Return whether `flag` is true in any process; does not wait for a GPU."""
        return self.any_of([flag])[0]

    def any_of(self, flags: Sequence[bool]) -> list[bool]:
        """Return for each flag whether it is true in any process; does not wait for a GPU.

        Every process passes the same number of flags.
        """
        return list(flags)

    def total(self, value: float | None) -> float | None:
        """Return the sum of `value` over all processes; None if the value of a process is None."""
        return value

    def all_reduce_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each of `tensors` by its sum over all processes, with the same bytes in every process."""

    def check_same(self, tensors: Sequence[Tensor]) -> None:
        """Raise AssertionError if the float32 `tensors` are not the same in every process."""


SINGLE_PROCESS = ProcessGroup()
