"""Readers of tickets and states, each in one pass; faults of a header are reported before any tensor is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mirl.config import UserError
from mirl.networks import NetworkSection, widening
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import ONE, Masks
from mirl.tickets import bits, fit, header, masked
from mirl.tickets.container import MENDING, Shapes, opened
from mirl.tickets.header import Header
from mirl.tickets.model import SparseModel
from mirl.tickets.ticket import Ticket
from mirl.tickets.writing import STATE, TICKET, refuse_not_finite

Check = Callable[[Path, Header, Shapes], object]
"""Check of a header and of the list of tensors in a file, made before any tensor is read; an error that it raises
prevents the reading."""


def fits_network(path: Path, found: Header, held: Shapes) -> None:
    """Raises UserError if the weights are not those of the network that the header names."""
    prunables = {name: (torch.float32, tuple(shape)) for name, shape in found.shapes.items()}
    fit.checked(found.network, {**prunables, **fit.whole(held)}, found.shapes, str(path))


def read(path: Path | str, check: Check = fits_network) -> Ticket:
    """Read the ticket in the file at `path`, checked from end to end.

    Raises UserError if the file is missing, truncated, changed, newer than this reader, not what the format allows, or
    not of the network that it names.
    """
    path = Path(path)
    with opened(path, TICKET) as file:
        found = header.checked(path, file.header, file.shapes)
        check(path, found, file.shapes)
        tensors, sha256 = file.tensors(), file.sha256()
    refuse_not_finite(tensors, path)
    state, masks = _unpacked(path, found, tensors)
    _refuse_outside(path, found.network, masks)
    try:
        ticket = Ticket(
            network=found.network, state=state, masks=masks, routing=found.routing,
            lineage=found.raw.lineage, values=found.values, sha256=sha256,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(f"{path} cannot be run: {error}; {MENDING}") from None
    if ticket.densities._asdict() != found.raw.density.model_dump():
        raise UserError(
            f"{path} claims the densities {found.raw.density.model_dump()}, but holds {ticket.densities}; {MENDING}"
        )
    return ticket


def inspect(path: Path | str) -> dict[str, Any]:
    """Return the header of a ticket file as plain data, and `kept`: how many weights of each layer stay.

    Reads no weights, so changed ones are not noticed. Otherwise raises UserError as `read`, but for the network.
    """
    path = Path(path)
    with opened(path, TICKET) as file:
        found = header.checked(path, file.header, file.shapes)
        return found.plain() | {"kept": {name: file.shapes[f"kept.{name}"][1][0] for name in found.shapes}}


def read_state(path: Path | str, model: SparseModel | None = None) -> tuple[State, int]:
    """Read a complete state and its step; if `model` is given, the state has to be of its network.

    Raises UserError as `read` does.
    """
    path = Path(path)
    with opened(path, STATE) as file:
        step = file.header.get("step")
        keys = {"format", "version", "step", "content"}
        if file.header.keys() != keys or type(step) is not int or step < 0:
            raise UserError(f"{path} has no valid step in its header; {MENDING}")
        header.check_tensors(path, file.shapes)
        header.check_whole(path, file.shapes, set(file.shapes))
        if model:
            fit.compare(fit.whole(file.shapes), fit.described(model.state), str(path))
        tensors = file.tensors()
    refuse_not_finite(tensors, path)
    return {name.removeprefix("full."): tensor for name, tensor in tensors.items()}, step


def _refuse_outside(path: Path, network: NetworkSection, masks: Masks) -> None:
    """Raises UserError if a sub-network of a narrower network is not there, or keeps what that network does not have."""
    for name in network.narrower:
        if name not in masks:
            raise UserError(
                f"{path} says that {name} is of a narrower network, but has no such mask; {MENDING}"
            )
        try:
            where = widening.corners(network, name)
        except UserError as error:
            raise UserError(f"{path}: {error}; {MENDING}") from None
        for layer, keep in masks[name].items():
            if bool((keep & ~widening.inside(keep, where.get(layer))).any()):
                raise UserError(
                    f"{path} keeps weights of {layer} for {name}, whose narrower network does not have them; {MENDING}"
                )


def _unpacked(path: Path, found: Header, tensors: State) -> tuple[State, Masks]:
    """Return the complete state and the masks. Raises UserError if a parameter cannot be decoded."""
    decode = bits.decode_plain if found.raw.version == 1 else bits.decode
    state = {name.removeprefix("full."): tensors[name] for name in tensors if name.startswith("full.")}
    keeps: dict[str, State] = {mask.name: {} for mask in found.masks} or {ONE: {}}
    for name, shape in found.shapes.items():
        try:
            state[name], union = masked.unpack(name, shape, tensors, found.values.kind, decode)
            subs = masked.unpack_submasks(name, union, found.submasks[name], tensors)
        except ValueError as error:
            raise UserError(f"{path} holds {name} in a way that cannot be: {error}; {MENDING}") from None
        for keep, sub in zip(keeps.values(), subs or [union], strict=True):
            keep[name] = sub
    # One after the other: a mask copies what it is made of.
    masks = Masks({mask: Mask(keeps.pop(mask)) for mask in list(keeps)})
    return {name: state[name] for name in sorted(state)}, masks
