"""Slimming of a ticket to some of its tasks: a ticket of its own, with the same output for them."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from mirl.config import UserError
from mirl.networks import working
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets.routing import ByTask
from mirl.tickets.ticket import Ticket
from mirl.tickets.values import narrowed, widened


def slimmed(ticket: Ticket, tasks: Sequence[str]) -> Ticket:
    """Return what `ticket`, read from its file, needs for these tasks: their sub-networks and no other weights or heads.

    The lineage stays, and its settings say under `slim` what was cut out of which file. Raises UserError if the ticket has
    no sub-network for a task, a task comes twice, or the weights would be rounded once more.
    """
    routing = ticket.routing
    if not isinstance(routing, ByTask):
        raise UserError(
            f"the ticket {ticket.lineage.name} has no sub-networks for tasks, its routing is {routing.words()}; expected a "
            "routing by task"
        )
    for task in tasks:
        if task not in routing.tasks:
            raise UserError(
                f"this ticket does not undo {task!r}; its tasks are {', '.join(sorted(routing.tasks))}"
            )
        if list(tasks).count(task) > 1:
            raise UserError(f"the task {task} is named twice; name it once")
    wanted = {task: routing.tasks[task] for task in tasks}
    masks = {name: mask for name, mask in ticket.masks.items() if name in wanted.values()}
    network, state = ticket.network, ticket.state
    if scales := {ticket.heads[name] for name in masks if name in ticket.heads}:
        masks = {name: Mask(working(mask, scales)) for name, mask in masks.items()}
        network, state = network.with_heads(scales), working(state, scales)
    assert ticket.sha256, "nothing to cut out of"
    made = {"slim": {"of": ticket.sha256, "tasks": sorted(tasks)}}
    lineage = ticket.lineage.model_copy(update={"settings": ticket.lineage.settings | made})
    pruned = {name: quality for name, quality in routing.pruned.items() if name in masks}
    narrower = {name: own for name, own in network.narrower.items() if name in masks}
    found = replace(
        ticket, network=network.model_copy(update={"narrower": narrower}), masks=Masks(masks),
        routing=ByTask(kind="task", tasks=wanted, pruned=pruned), state=Masks(masks).union.apply(state),
        lineage=lineage, sha256="",
    )  # fmt: skip
    _refuse_rounding(found)
    return found


def _refuse_rounding(ticket: Ticket) -> None:
    """Raise UserError if the file would hold other values: int8 levels depend on the largest weight that is kept."""
    kind = ticket.values.kind
    for name, keep in ticket.mask.items():
        kept_M = ticket.state[name][keep]
        if not torch.equal(widened(narrowed(kept_M, kind), kind), kept_M):
            raise UserError(
                f"the ticket's values are {kind} in units of weights that would go; slim the ticket "
                f"{ticket.values.packed_from[:12]} that it was packed from, and pack what is left"
            )
