"""Sharing of weights among the masks of a model: whose weights each mask uses, layer by layer.

Owner of a weight is the first mask that keeps it, in the order of the masks; a weight that no mask keeps is free.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch

from mirl.sparsity.masks import Masks


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Numbers of weights by layer, by the mask that uses them and by the mask that owns them."""

    layers: Mapping[str, int]
    """Prunable parameter -> number of its weights."""
    uses: Mapping[str, Mapping[str, Mapping[str, int]]]
    """Mask -> owner, itself or one before it -> prunable parameter -> number of the owner's weights that the mask keeps."""

    @classmethod
    def of(cls, masks: Masks) -> Self:
        """Count the weights of a model with these masks."""
        names = list(masks)
        owned = {name: masks.own(name) for name in names}
        uses = {
            user: {
                owner: {
                    layer: int(torch.count_nonzero(keep & owned[owner][layer]))
                    for layer, keep in masks[user].items()
                }
                for owner in names[: place + 1]
            }
            for place, user in enumerate(names)
        }
        return cls(layers={layer: keep.numel() for layer, keep in masks.union.items()}, uses=uses)

    @property
    def total(self) -> int:
        """Number of all prunable weights."""
        return sum(self.layers.values())

    def used(self, user: str) -> dict[str, int]:
        """Return owner -> number of its weights that `user` uses, over all layers."""
        return {owner: sum(layers.values()) for owner, layers in self.uses[user].items()}

    def own(self, owner: str, layer: str) -> int:
        """Return the number of weights of a layer that `owner` owns."""
        return self.uses[owner][owner][layer]

    @property
    def free(self) -> int:
        """Number of weights that no mask keeps."""
        return self.total - sum(self.used(owner)[owner] for owner in self.uses)
