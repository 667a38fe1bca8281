"""Network that is being trained, as an objective sees it.

Dimensions in names: B images, C channels, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mirl.methods.plan import Remask
from mirl.networks.picks import Picks
from mirl.objectives import Subnetworks
from mirl.sparsity.masks import ONE, Masks
from mirl.sparsity.structure import Blocks


class TrainedSubnetworks(Subnetworks):
    """Sub-networks of the network in training, each run under its mask in the precision of the training.

    If the network has picks, the last sub-network is run without the blocks of earlier ones that are not picked.
    """

    def __init__(
        self,
        network: nn.Module,
        masks: Masks,
        autocast: torch.autocast,
        compiled: bool,
        remask: Remask | None = None,
    ) -> None:
        """Take the network on its device, with every weight that no mask keeps at zero; `remask` is as in a plan."""
        self.network, self._remask = network, remask
        self._autocast = autocast
        self._whole = torch.compile(network) if compiled else network
        device = next(network.parameters()).device
        self._prunable = list(masks.union)
        self._set(masks)
        self._picking = _Picking.of(network, masks, device)

    def _set(self, masks: Masks) -> None:
        device = next(self.network.parameters()).device
        self._keeps = {
            mask: {} if own == masks.union else {name: keep.to(device) for name, keep in own.items()}
            for mask, own in masks.items()
        }

    def remake_masks(self) -> None:
        """Make the masks anew from the present weights if the plan asks for that; called before every step."""
        if self._remask:
            weights = {
                name: self.network.get_parameter(name).detach().contiguous() for name in self._prunable
            }
            self._set(self._remask(weights))

    def dropped(self, mask: str) -> Tensor:
        """Return the sum of the squares of the weights that the sub-network of that mask does without, a scalar."""
        squares = [
            (self.network.get_parameter(name) * ~keep).square().sum()
            for name, keep in self._keeps[mask].items()
        ]
        return torch.stack(squares).sum() if squares else next(self.network.parameters()).new_zeros(())

    def _masked(self, name: str, keep: Tensor) -> Tensor:
        weight = self.network.get_parameter(name)
        if self._remask is None:
            return weight * keep
        return weight + (weight * keep - weight).detach()  # its value is that product, its derivative 1

    def __call__(self, image_BCHW: Tensor, mask: str = ONE) -> Tensor:
        keeps: Mapping[str, Tensor] = self._keeps[mask]
        with self._autocast:
            if self._picking and mask == self._picking.mask:
                keeps = self._picking.keeps()
            if not keeps:  # the weights are masked already
                whole: Tensor = self._whole(image_BCHW)
                return whole.float()
            weights = {name: self._masked(name, keep) for name, keep in keeps.items()}
            found: Tensor = functional_call(self.network, weights, (image_BCHW,))
            return found.float()


@dataclass(frozen=True)
class _Picking:
    """What a sub-network keeps of its own, and what it picks of the others', by scores that are being trained."""

    mask: str
    picks: Picks
    blocks: Blocks
    own: Mapping[str, Tensor]
    shared: Mapping[str, Tensor]

    @classmethod
    def of(cls, network: nn.Module, masks: Masks, device: torch.device) -> Self | None:
        """Return the picking of the last mask; None if the network has no picks."""
        picks = getattr(network, "picks", None)
        if not isinstance(picks, Picks):
            return None
        mask = list(masks)[-1]
        own, sides = masks.own(mask), picks.section
        return cls(
            mask=mask,
            picks=picks,
            blocks=Blocks(kind="blocks", outputs=sides.outputs or "all", inputs=sides.inputs),
            own={name: keep.to(device) for name, keep in own.items()},
            shared={name: (keep & ~own[name]).to(device) for name, keep in masks[mask].items()},
        )

    def keeps(self) -> Mapping[str, Tensor]:
        """Return the factor of each weight: 1 if it is its own or picked, else 0; with a gradient for the scores."""
        return {
            name: own + shared * self.blocks.spread(self.picks.of(name), own)
            for (name, own), shared in zip(self.own.items(), self.shared.values(), strict=True)
        }
