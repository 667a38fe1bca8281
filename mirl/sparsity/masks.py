"""The masks of a model by name: one or several sub-networks over one set of weights."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import pairwise

from torch import Tensor

from mirl.sparsity.mask import Mask

ONE = "one"
"""Name of the only mask of a model that has one."""


class Masks(Mapping[str, Mask]):
    """Masks by name, in the order given; all cover the same parameters. Immutable.

    Elements that no mask keeps are exactly 0 in the model's weights: only the `union` is stored and trained.
    """

    def __init__(self, masks: Mapping[str, Mask]) -> None:
        """Raises ValueError if there is no mask, or two cover different parameters or shapes."""
        self._masks = dict(masks)
        if not self._masks:
            raise ValueError("a model has at least one mask")
        first, *others = self._masks.values()
        shapes = {name: keep.shape for name, keep in first.items()}
        for mask in others:
            if {name: keep.shape for name, keep in mask.items()} != shapes:
                raise ValueError("the masks of a model do not cover the same parameters")

    @classmethod
    def one(cls, mask: Mask) -> "Masks":
        """Return the masks of a model that always runs the same sub-network."""
        return cls({ONE: mask})

    def __getitem__(self, name: str) -> Mask:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __eq__(self, other: object) -> bool:
        """Return whether both hold equal masks under the same names in the same order."""
        if not isinstance(other, Masks):
            return NotImplemented
        return list(self) == list(other) and all(mask == other[name] for name, mask in self.items())

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def union(self) -> Mask:
        """Mask of the elements that at least one mask keeps; all others are zero."""
        first, *others = self._masks.values()
        if not others:
            return first
        return Mask({name: _any(mask[name] for mask in self.values()) for name in first})

    def own(self, name: str) -> Mask:
        """Return the part of a mask that no mask before it keeps: what its owner added to those before."""
        names = list(self)
        earlier = names[: names.index(name)]
        if not earlier:
            return self[name]
        owned = Masks({other: self[other] for other in earlier}).union
        return Mask({layer: keep & ~owned[layer] for layer, keep in self[name].items()})

    @cached_property
    def nested(self) -> bool:
        """True if each mask keeps all that the mask before it keeps."""
        return all(
            not bool((keep & ~larger[name]).any())
            for smaller, larger in pairwise(self._masks.values())
            for name, keep in smaller.items()
        )


def _any(keeps: Iterator[Tensor]) -> Tensor:
    """Return where at least one of `keeps` is True, computed in one tensor instead of one for each of them."""
    kept = next(keeps).clone()
    for keep in keeps:
        kept |= keep
    return kept
