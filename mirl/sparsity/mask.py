"""Mask of the elements that a ticket keeps of each parameter, the only record of sparsity."""

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor

State = dict[str, Tensor]
"""A complete state: every parameter and buffer of a network by its name."""


class Mask(Mapping[str, Tensor]):
    """Bool per element of each prunable parameter, True = keep, keyed by parameter name, in name order.

    A parameter that is not in the mask is not prunable and kept whole. The tensors are the mask's own copies;
    nobody writes into them.
    """

    def __init__(self, keep: Mapping[str, Tensor]) -> None:
        for name, tensor in keep.items():
            if tensor.dtype != torch.bool:
                raise TypeError(f"mask of {name} is {tensor.dtype}, expected torch.bool")
        self._keep = {name: keep[name].clone() for name in sorted(keep)}

    @classmethod
    def full(cls, weights: Mapping[str, Tensor]) -> "Mask":
        """Return a mask that keeps everything in `weights`."""
        return cls({name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._keep[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keep)

    def __len__(self) -> int:
        return len(self._keep)

    def __eq__(self, other: object) -> bool:
        """Return whether both masks keep the same elements of the same parameters."""
        if not isinstance(other, Mask):
            return NotImplemented
        return list(self) == list(other) and all(
            torch.equal(keep, other[name]) for name, keep in self.items()
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def kept(self) -> int:
        """Number of elements that stay."""
        return sum(self._kept)

    @property
    def total(self) -> int:
        """Number of prunable elements."""
        return sum(keep.numel() for keep in self._keep.values())

    @property
    def density(self) -> float:
        """Kept fraction of the prunable elements, in [0, 1]."""
        return self.kept / self.total if self.total else 1.0

    def layer_kept(self) -> dict[str, int]:
        """Return the number of elements that stay of each prunable parameter."""
        return dict(zip(self._keep, self._kept))

    @cached_property
    def _kept(self) -> list[int]:
        # Not `keep.sum()`, which widens bool to int64 first; a GPU is waited for once.
        counts = [torch.count_nonzero(keep) for keep in self._keep.values()]
        return torch.stack(counts).tolist() if counts else []

    def layer_density(self) -> dict[str, float]:
        """Return the kept fraction of each prunable parameter, in [0, 1]."""
        return {name: kept / self._keep[name].numel() for name, kept in self.layer_kept().items()}

    def apply(self, state: Mapping[str, Tensor]) -> State:
        """Return a copy of `state`, which holds every masked parameter, in which everything masked is exactly +0."""
        for name, keep in self._keep.items():
            assert state[name].shape == keep.shape, f"{name} is {state[name].shape}, its mask {keep.shape}"
        return {
            name: masked(tensor, self._keep[name]) if name in self._keep else tensor.clone()
            for name, tensor in state.items()
        }


def masked(tensor: Tensor, keep: Tensor) -> Tensor:
    """Return `tensor` where `keep` is True and exactly +0 elsewhere, in memory of its own."""
    # As whole numbers: -1.0 * 0 is -0, and inf * 0 is no number. `masked_fill` takes four times as long.
    return (tensor.detach().view(_BITS[tensor.element_size()]) * keep).view(tensor.dtype)


_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer type that reads the bits of a number, by the size of the number in bytes."""
