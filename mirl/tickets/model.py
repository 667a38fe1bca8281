"""Model that can run: a network, its weights, the masks of its sub-networks and the routing among them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mirl.networks import ROUTER, Network, NetworkSection, head_kept, widening, working
from mirl.sparsity.accounting import Densities, densities
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.tickets import fit
from mirl.tickets.routing import (
    ByTask,
    Routing,
    Static,
    refuse_other_masks,
    refuse_other_router,
    refuse_other_scales,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseModel:
    """One set of weights, with the masks *under which they were trained*."""

    network: NetworkSection
    state: State
    """Every parameter and buffer; elements that no mask keeps are exactly 0."""
    masks: Masks
    """Masks that cover every prunable parameter."""
    routing: Routing = field(default_factory=Static)

    def __post_init__(self) -> None:
        """Raises ValueError if the routing, the masks and the heads are not of one model."""
        refuse_other_masks(self.routing, list(self.masks))
        refuse_other_router(self.routing, self.network.router_outputs)
        refuse_other_scales(self.routing, self.heads)

    @property
    def mask(self) -> Mask:
        """Mask of the elements that at least one mask keeps: those that may be nonzero, are stored and are trained."""
        return self.masks.union

    @property
    def densities(self) -> Densities:
        """Kept fractions of the union. Every floating-point tensor of the state counts as trainable."""
        return densities(self.mask, sum(t.numel() for t in self.state.values() if torch.is_floating_point(t)))

    @property
    def heads(self) -> dict[str, int]:
        """Name of each mask -> scale of the head that its sub-network runs; empty unless the network has several heads.

        Raises UserError if a mask keeps nothing of any head.
        """
        scales = self.network.scales
        return {name: head_kept(mask, scales) for name, mask in self.masks.items()} if scales else {}

    def alone(self, mask: str) -> "SparseModel":
        """Return the sub-network of `mask` as a model of its own, without a router and with its own head alone.

        It has the network that it was trained in, which may be a corner of the present one. If there is no other mask, the
        two share their memory. Raises UserError if its narrower network is no corner of the whole.
        """
        own, network, state = self.masks[mask], self.network, self.state
        if mask in self.heads:
            scales = [self.heads[mask]]
            network, state, own = (
                network.with_heads(scales),
                working(state, scales),
                Mask(working(own, scales)),
            )
        if network.router:
            network = network.model_copy(update={"router": None})
            state = {name: tensor for name, tensor in state.items() if not name.startswith(ROUTER)}
        if len(self.masks) > 1:
            state = own.apply(state)
        if where := widening.corners(network, mask):
            state, own = widening.cut_out(state, where), Mask(widening.cut_out(own, where))
        network = widening.own_network(network, mask)
        return SparseModel(network=network, state=state, masks=Masks.one(own))

    def by_head(self) -> "list[SparseModel]":
        """Return for each head the sub-networks that run it, joined to one; the model itself if it has no several heads."""
        joined = {
            f"x{scale}": Masks(
                {name: self.masks[name] for name in self.masks if self.heads[name] == scale}
            ).union
            for scale in dict.fromkeys(self.heads.values())
        }
        if not joined:
            return [self]
        routing = ByTask(kind="task", tasks={name: name for name in joined})
        network = self.network.model_copy(update={"narrower": {}})
        each = SparseModel(network=network, state=self.state, masks=Masks(joined), routing=routing)
        return [each.alone(name) for name in joined]

    def built(self) -> Network:
        """Build the network with the weights that any of the masks keeps, on the CPU, channels-last.

        The network shares the memory of weights with the same layout: nobody writes into them. Raises UserError as
        `outline`.
        """
        network = self.outline()
        laid = {name: _laid_as(like, self.state[name]) for name, like in network.state_dict().items()}
        network.load_state_dict(laid, assign=True)
        return network

    def outline(self) -> Network:
        """Return the network on torch's meta device. Raises UserError if the weights do not fit it."""
        return fit.checked(self.network, fit.described(self.state), self.mask, "the ticket")


def _laid_as(like: Tensor, tensor: Tensor) -> Tensor:
    """Return `tensor`, or a copy of it, that has the memory layout of `like`."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, device="cpu").copy_(tensor)
