"""The ticket file and the state file; `docs/ticket-format.md` specifies both."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirl.config import UserError
from mirl.sparsity.mask import Mask, State
from mirl.tickets import bits, container, masked
from mirl.tickets.container import MENDING, FileKind, Shapes
from mirl.tickets.header import Header, check_tensors, check_whole, checked
from mirl.tickets.routing import ROUTINGS
from mirl.tickets.ticket import Ticket

TICKET = FileKind(format="mirl-ticket", version=2)
STATE = FileKind(format="mirl-state", version=1)


def write(ticket: Ticket, path: Path | str) -> str:
    """Write the ticket to `path`, whole or not at all; return the file's sha256.

    UserError where the disk does not take it or a weight is not finite.
    """
    path = Path(path)
    _refuse_not_finite(ticket.state, path)
    header = {
        "network": ticket.network,
        "shapes": {name: list(keep.shape) for name, keep in ticket.mask.items()},
        "density": ticket.densities._asdict(),
        "values": ticket.values.model_dump(mode="json"),
        "routing": ticket.routing.model_dump(mode="json"),
        "lineage": ticket.lineage.model_dump(mode="json"),
    }
    tensors = {
        f"full.{name}": _plain(tensor) for name, tensor in ticket.state.items() if name not in ticket.mask
    }
    for name, keep in ticket.mask.items():
        tensors |= masked.pack(name, _plain(ticket.state[name]), _plain(keep), ticket.values.kind)
    return container.save_sealed(path, TICKET, header, tensors)


Look = Callable[[Header, Shapes], object]
"""Sees a header and which tensors the file holds before any of them is read; what it raises keeps them from that."""


def read(path: Path | str, look: Look = lambda header, held: None) -> Ticket:
    """The ticket in the file at `path`, checked from end to end; whether it fits its network is `fit`'s to say.

    UserError where it is missing, truncated, changed, newer than this reader, or not what the format allows.
    """
    path = Path(path)
    raw, shapes = container.load_header(path, TICKET)
    header = checked(path, raw, shapes)
    look(header, shapes)
    tensors = container.load_tensors(path, raw)
    _refuse_not_finite(tensors, path)
    state = {name.removeprefix("full."): tensors[name] for name in tensors if name.startswith("full.")}
    keep = {}
    for name in header.shapes:
        state[name], keep[name] = _unpack(name, header, tensors, path)
    ticket = Ticket(
        network=header.network,
        state={name: state[name] for name in sorted(state)},
        mask=Mask(keep),
        routing=ROUTINGS[header.routing["kind"]].read(header.routing, f"{path}: routing"),
        lineage=header.lineage,
        values=header.values,
        sha256=container.sha256_of(path),
    )
    if ticket.densities._asdict() != header.density.model_dump():
        raise UserError(
            f"{path} claims the densities {header.density.model_dump()}, but holds {ticket.densities}; {MENDING}"
        )
    return ticket


def inspect(path: Path | str) -> dict[str, Any]:
    """The header of a ticket file as plain data, and `kept`: how many weights of each layer stay.

    Reads no weights, so it does not notice changed ones; UserError as `read` otherwise.
    """
    path = Path(path)
    raw, shapes = container.load_header(path, TICKET)
    header = checked(path, raw, shapes)
    return header.model_dump() | {"kept": {name: shapes[f"kept.{name}"][1][0] for name in header.shapes}}


def write_state(state: State, path: Path | str, step: int) -> str:
    """Write the complete state at `step` of the schedule; return the file's sha256. Errors as `write`."""
    path = Path(path)
    _refuse_not_finite(state, path)
    tensors = {f"full.{name}": _plain(tensor) for name, tensor in state.items()}
    return container.save_sealed(path, STATE, {"step": step}, tensors)


def read_state(path: Path | str, look: Callable[[Shapes], object] = lambda held: None) -> tuple[State, int]:
    """A complete state and its step; `look` and UserError as in `read`."""
    path = Path(path)
    header, shapes = container.load_header(path, STATE)
    step = header.get("step")
    if header.keys() != {"format", "version", "step", "content"} or type(step) is not int or step < 0:
        raise UserError(f"{path} has no valid step in its header; {MENDING}")
    check_tensors(path, shapes)
    check_whole(path, shapes, set(shapes))
    look(shapes)
    tensors = container.load_tensors(path, header)
    _refuse_not_finite(tensors, path)
    return {name.removeprefix("full."): tensor for name, tensor in tensors.items()}, step


def _unpack(name: str, header: Header, tensors: State, path: Path) -> tuple[Tensor, Tensor]:
    decode = bits.decode_plain if header.version == 1 else bits.decode
    try:
        return masked.unpack(name, header.shapes[name], tensors, header.values.kind, decode)
    except ValueError as error:
        raise UserError(f"{path} holds {name} in a way that cannot be: {error}; {MENDING}") from None


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous, in memory of its own: what safetensors takes."""
    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _refuse_not_finite(tensors: State, path: Path) -> None:
    broken = next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken:
        raise UserError(
            f"{path}: {broken.removeprefix('full.')} holds a value that is not finite; train it anew"
        )
