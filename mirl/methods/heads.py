"""Heads of requirements: one that nobody has trained begins untrained, and may be one that the network did not have."""

from dataclasses import replace

import torch

from mirl import networks
from mirl.methods.plan import Initialise, Parent
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks


def with_head(parent: Parent, scale: int, initialise: Initialise) -> Parent:
    """Return the parent with a head for that scale: untrained if no mask keeps a part of it, and added if it is not there.

    An added one has the weights that it would have had from the beginning, as the last of the network's scales. A network
    without heads stays as it is. Raises UserError if the network can have no head for that scale.
    """
    if not parent.network.has_head(scale):
        return _with_one_more(parent, scale)
    head = new_head(parent, parent.mask, scale)
    first = initialise(parent.network.seed) if head else {}
    # The origin of earlier rounds holds it masked, and two layers of zeros in a row never learn.
    new = {name: first[name] for name in head if name in parent.mask}
    return replace(parent, state={**parent.state, **new}, origin={**parent.origin, **new})


def new_head(parent: Parent, owned: Mask, scale: int) -> list[str]:
    """Return the names of all parameters of the head for that scale, if it is one of several and nothing of it is owned."""
    head = [name for name in parent.state if parent.network.scales and networks.scale_of(name) == scale]
    return [] if any(bool(owned[name].any()) for name in head if name in owned) else head


def _with_one_more(parent: Parent, scale: int) -> Parent:
    section = parent.network.with_scale(scale)
    network = networks.build(section)
    head = {
        name: tensor.detach().contiguous()
        for name, tensor in network.state_dict().items()
        if networks.scale_of(name) == scale
    }
    nothing = {
        name: torch.zeros_like(head[name], dtype=torch.bool)
        for name in networks.prunable(network, section.prune_prompts)
        if name in head
    }
    masks = {mask: Mask({**own, **nothing}) for mask, own in parent.masks.items()}
    return replace(
        parent, network=section, masks=Masks(masks), state={**parent.state, **head}, origin={**parent.origin, **head}
    )  # fmt: skip
