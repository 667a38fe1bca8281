"""Nested sub-networks that are trained one after the other, from the smallest to the largest (ELSA, arXiv 2312.06872).

A round trains one of them. Which one it is follows from the parent, which has those that are trained.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mirl.config import UserError
from mirl.methods.nesting import Nesting
from mirl.methods.plan import Parent, Plan, continued, copied
from mirl.objectives import Reconstruction
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets.routing import Static, by_weights


def trained(parent: Parent, order: Sequence[str]) -> int:
    """Return how many of the sub-networks in `order` the parent has; 0 if it is a ticket to cut them from."""
    found = list(parent.masks)
    return len(found) if found == list(order[: len(found)]) else 0


def plan_next(parent: Parent, nesting: Nesting) -> Plan:
    """Plan the training of the smallest sub-network that is not trained; what smaller ones keep is frozen.

    So is what cannot be pruned, which the smallest one trains. The weights that no sub-network keeps yet are those of the
    ticket that the levels are cut from. A ticket does not hold them, so they are the origin of these rounds; those that are
    exactly 0 belong to no sub-network. Raises UserError if the parent's sub-networks are not those of `nesting`.
    """
    done = trained(parent, list(nesting.levels))
    before = parent.origin if done else parent.state
    base = Mask({name: before[name] != 0 for name in parent.mask})
    masks = replace(nesting, mask=base, origin=before)(before)
    *smaller, name = list(masks)[: done + 1]
    if any(masks[other] != parent.masks[other] for other in smaller):
        raise UserError(
            f"the sub-networks {', '.join(smaller)} of the ticket are not those that this arm cuts; use the arm that they "
            "were trained with"
        )
    own = Masks({other: masks[other] for other in (*smaller, name)})
    plan = replace(
        continued(parent, own.union), masks=own, routing=by_weights(own) if smaller else Static(),
        objective=Reconstruction(name), origin=copied(before),
    )  # fmt: skip
    if not smaller:
        return plan
    kept = masks[smaller[-1]]
    joined = {layer: torch.where(keep, parent.state[layer], before[layer]) for layer, keep in kept.items()}
    return replace(plan, state={**plan.state, **own.union.apply(joined)}, frozen=_frozen(kept, parent))


def _frozen(kept: Mask, parent: Parent) -> dict[str, Tensor]:
    return {
        name: kept[name] if name in kept else torch.ones_like(tensor, dtype=torch.bool)
        for name, tensor in parent.state.items()
    }
