"""Nested sub-networks of one set of weights: the masks of all levels, cut from any weights of the same shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from mirl.config import UserError
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.sparsity.scope import SCOPES
from mirl.sparsity.scores import SCORES
from mirl.sparsity.structure import Structure


@dataclass(frozen=True, kw_only=True, eq=False)
class Nesting:
    """Cut of weights into sub-networks, each inside the next, all inside `mask`; it can be sent to other processes."""

    levels: Mapping[str, float]
    """Name of a sub-network -> share of the weights of `mask` that it keeps, rising."""
    least: Mapping[str, float]
    """Beginning of a layer's name -> share of its weights that every sub-network keeps; the longest that fits counts."""
    structure: Structure
    scope: str
    score: str
    floor: float
    mask: Mask
    """What is kept of the weights before the cut."""
    whole: frozenset[str]
    """Layers that every sub-network keeps as `mask` does."""
    origin: State

    def __call__(self, weights: Mapping[str, Tensor]) -> Masks:
        """Return the masks for these weights, on their device, in the order of `levels`.

        Raises UserError if a level cannot be reached, or a sub-network loses a layer or is the same as another.
        """
        mask = {name: keep.to(weights[name].device) for name, keep in self.mask.items()}
        found: dict[str, dict[str, Tensor]] = {level: {} for level in self.levels}
        pruned = Mask({name: keep for name, keep in mask.items() if name not in self.whole})
        if not len(pruned):
            raise UserError("no layer is left to prune: `whole` names them all; name fewer")
        for least, layers in self._by_least(pruned).items():
            for level, kept in self._nested(weights, layers, least).items():
                found[level] |= kept
        masks = {
            level: Mask({name: found[level].get(name, keep) for name, keep in mask.items()})
            for level in self.levels
        }
        for level in reversed(list(masks)):
            self._refuse_gone(level, pruned, Mask(found[level]))
        _refuse_equal(masks)
        return Masks(masks)

    def _by_least(self, mask: Mask) -> dict[float, Mask]:
        """Return the layers of `mask` by the share that every sub-network keeps of them; 0 if nothing is said of it."""
        groups: dict[float, dict[str, Tensor]] = {}
        for name, keep in mask.items():
            fitting = [beginning for beginning in self.least if name.startswith(beginning)]
            least = self.least[max(fitting, key=len)] if fitting else 0.0
            groups.setdefault(least, {})[name] = keep
        return {least: Mask(layers) for least, layers in groups.items()}

    def _nested(self, weights: Mapping[str, Tensor], mask: Mask, least: float) -> dict[str, Mask]:
        """Return what each level keeps of the layers in `mask`, cut from the largest to the smallest."""
        origin = {name: self.origin[name].to(keep.device) for name, keep in mask.items()}
        scores = SCORES[self.score](weights, origin, mask)
        larger, before = mask, 1.0
        found = {}
        for level in reversed(list(self.levels)):
            share = max(self.levels[level], least)
            if share < before:
                keep = self.structure.count(mask, share)
                larger = self.structure.select(scores, larger, keep, SCOPES[self.scope], self.floor)
            found[level], before = larger, share
        return found

    @staticmethod
    def _refuse_gone(name: str, parent: Mask, mask: Mask) -> None:
        """Raise UserError if a layer of the parent has no weight left: without the last layer nothing is restored."""
        kept = mask.layer_kept()
        gone = [layer for layer, before in parent.layer_kept().items() if before and not kept[layer]]
        if gone:
            more = f" and {len(gone) - 1} other layers" if len(gone) > 1 else ""
            raise UserError(
                f"the sub-network {name} keeps no weight of {gone[0]}{more}; use a `floor`, the scope layerwise, the score "
                "lamp, or name such layers in `whole` or `layers`"
            )


def _refuse_equal(masks: Mapping[str, Mask]) -> None:
    """Raise UserError if two sub-networks keep as many weights, so that they are the same."""
    for less, more in pairwise(masks):
        if masks[less].kept == masks[more].kept:
            raise UserError(
                f"the sub-networks {less} and {more} both keep {masks[less].kept} weights; use an `m` that divides the "
                "inputs of some layers, levels that lie further apart, or a smaller `floor`"
            )
