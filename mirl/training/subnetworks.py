"""Network that is being trained, as an objective sees it.

Dimensions in names: B images, C channels, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mirl.methods.plan import Remask
from mirl.networks import working
from mirl.networks.heads import ScalesNetwork
from mirl.networks.picks import Picks
from mirl.objectives import Subnetworks
from mirl.sparsity.masks import ONE, Masks
from mirl.sparsity.structure import Blocks

NO_HEADS: Mapping[str, int] = MappingProxyType({})


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
        heads: Mapping[str, int] = NO_HEADS,
    ) -> None:
        """Take the network on its device, with every weight that no mask keeps at zero; `remask` is as in a plan.

        `heads` is the scale of the head that each sub-network runs, if the network has several (`SparseModel.heads`).
        """
        self.network, self._remask = network, remask
        self._autocast = autocast
        self._heads = {mask: heads.get(mask) for mask in masks}
        self._wholes = {scale: _with_head(network, scale) for scale in self._heads.values()}
        self._runs = {
            scale: torch.compile(whole) if compiled else whole for scale, whole in self._wholes.items()
        }
        self._prunable = list(masks.union)
        self._set(masks)
        self._picking = _Picking.of(network, masks, next(network.parameters()).device)

    def _set(self, masks: Masks) -> None:
        self._keeps = {mask: self._keep(mask, masks) for mask in masks}

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
        head = self._heads[mask]
        with self._autocast:
            if self._picking and mask == self._picking.mask:
                keeps = self._working(self._picking.keeps(), head)
            if not keeps:  # the weights are masked already
                whole: Tensor = self._runs[head](image_BCHW)
                return whole.float()
            weights = {name: self._masked(name, keep) for name, keep in keeps.items()}
            found: Tensor = functional_call(self._wholes[head], weights, (image_BCHW,))
            return found.float()

    def _keep(self, mask: str, masks: Masks) -> dict[str, Tensor]:
        """Return what a sub-network keeps of each weight that it runs; nothing if it keeps all that anyone does."""
        own, union = (self._working(each, self._heads[mask]) for each in (masks[mask], masks.union))
        if all(torch.equal(keep, union[name]) for name, keep in own.items()):
            return {}
        device = next(self.network.parameters()).device
        return {name: keep.to(device) for name, keep in own.items()}

    def _working(self, parts: Mapping[str, Tensor], head: int | None) -> dict[str, Tensor]:
        return dict(parts) if head is None else working(parts, [head])


def _with_head(network: nn.Module, scale: int | None) -> nn.Module:
    """Return the network as it enlarges by `scale`; None: as it is."""
    if scale is None:
        return network
    assert isinstance(network, ScalesNetwork)
    return network.only(scale)


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
