"""A wider network for a requirement that finds too little free, in which the earlier ones stay what they are."""

from collections.abc import Collection, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from mirl import networks
from mirl.methods.plan import Parent
from mirl.networks import widening
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks


def widened(parent: Parent, factor: float) -> Parent:
    """Return the parent in a network of `factor` times the channels, whose new weights are those of its first step.

    The sub-networks stay of the network that they were trained in, and have its corner. Raises UserError if the network
    cannot be widened.
    """
    narrow = parent.network
    section = widening.widened(narrow, factor, list(parent.masks))
    fresh = networks.build(section).state_dict()
    nothing = {name: torch.zeros_like(tensor, dtype=torch.bool) for name, tensor in fresh.items()}
    masks = {name: Mask(widening.put_in(mask, nothing, narrow)) for name, mask in parent.masks.items()}
    return replace(
        parent,
        network=section,
        state=widening.put_in(parent.state, fresh, narrow),
        origin=widening.put_in(parent.origin, fresh, narrow),
        masks=Masks(masks),
    )


def frozen(parent: Parent, earlier: Iterable[str], owned: Mask, head: Collection[str]) -> dict[str, Tensor]:
    """Return what belongs to earlier requirements: the weights that they own, and all of their networks that is not
    prunable, such as biases and norms.

    What is in `head` is not theirs.
    """
    found: dict[str, Tensor] = dict(owned)
    corners = [widening.corners(parent.network, name) for name in earlier]
    for name, tensor in parent.state.items():
        if name not in owned:
            theirs = torch.full_like(tensor, name not in head, dtype=torch.bool)
            parts = [
                theirs & widening.inside(tensor, where.get(name)) if where else theirs for where in corners
            ]
            found[name] = torch.stack(parts).any(0)
    return found
