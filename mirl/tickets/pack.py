"""Packing of a trained ticket into a smaller one, whose kept weights are rounded."""

from dataclasses import replace

import torch

from mirl.config import UserError
from mirl.tickets.ticket import Ticket
from mirl.tickets.values import ValueKind, Values, narrowed, widened


def packed(ticket: Ticket, kind: ValueKind) -> Ticket:
    """Return `ticket`, read from its file, with its kept weights rounded to `kind`; lineage and all else stay.

    Raises UserError if the weights are rounded already, or too large for 16 bits.
    """
    if ticket.values.kind != "fp32":
        raise UserError(
            f"the ticket's values are {ticket.values.kind}, rounded from ticket {ticket.values.packed_from[:12]}; "
            "pack that one, so that nothing is rounded twice"
        )
    assert ticket.sha256 and kind != "fp32", "nothing to pack from, or to"
    state = dict(ticket.state)
    for name, keep in ticket.mask.items():
        rounded_M = widened(narrowed(ticket.state[name][keep], kind), kind)
        if not bool(torch.isfinite(rounded_M).all()):
            raise UserError(f"a weight of {name} is too large for {kind}; choose bf16 or int8")
        state[name] = torch.zeros(keep.shape).masked_scatter_(keep, rounded_M)
    return replace(ticket, state=state, sha256="", values=Values(kind=kind, packed_from=ticket.sha256))
