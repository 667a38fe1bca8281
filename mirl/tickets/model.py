"""A model that can run: a network, its weights, the masks of its sub-networks and what chooses among them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mirl.networks import Network, NetworkSection
from mirl.sparsity.accounting import Densities, densities
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.tickets import fit
from mirl.tickets.routing import Routing, Static, refuse_other_masks


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseModel:
    """One set of weights, with the masks *under which they were trained*."""

    network: NetworkSection
    state: State
    """Every parameter and buffer; elements that no mask keeps are exactly 0."""
    masks: Masks
    """Cover every prunable parameter."""
    routing: Routing = field(default_factory=Static)

    def __post_init__(self) -> None:
        """Raises ValueError if the routing and the masks are not of one model."""
        refuse_other_masks(self.routing, list(self.masks))

    @property
    def mask(self) -> Mask:
        """What at least one of the masks keeps: what may be other than zero, what is stored, what is trained."""
        return self.masks.union

    @property
    def densities(self) -> Densities:
        """Kept fractions of the union. Every floating-point tensor of the state counts as trainable."""
        return densities(self.mask, sum(t.numel() for t in self.state.values() if torch.is_floating_point(t)))

    def alone(self, mask: str) -> "SparseModel":
        """The sub-network of that mask as a model with nothing else in it; of one mask it shares the memory."""
        own = self.masks[mask]
        state = self.state if len(self.masks) == 1 else own.apply(self.state)
        return SparseModel(network=self.network, state=state, masks=Masks.one(own))

    def built(self) -> Network:
        """The network with the weights that any of the masks keeps, on the CPU, channels-last.

        Shares the memory of weights that lie alike: nobody writes into them. Raises UserError as `outline`.
        """
        network = self.outline()
        laid = {name: _laid_as(like, self.state[name]) for name, like in network.state_dict().items()}
        network.load_state_dict(laid, assign=True)
        return network

    def outline(self) -> Network:
        """The network on torch's meta device. Raises UserError if the weights do not fit it."""
        return fit.checked(self.network, fit.described(self.state), self.mask, "the ticket")


def _laid_as(like: Tensor, tensor: Tensor) -> Tensor:
    """`tensor`, or a copy of it, that lies in memory as `like` does."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, device="cpu").copy_(tensor)
