"""The ticket file and the state file; `docs/ticket-format.md` specifies both."""

import math
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from mirl.config import Section, UserError
from mirl.sparsity.mask import Mask, State
from mirl.tickets import bits, container, masked
from mirl.tickets.container import MENDING, Kind, Shapes
from mirl.tickets.routing import ROUTINGS
from mirl.tickets.ticket import Lineage, Ticket
from mirl.tickets.values import Values

TICKET = Kind(format="mirl-ticket", version=2)
STATE = Kind(format="mirl-state", version=1)
MOST_ELEMENTS = 2**31
"""Of one network. A header that claims more is refused before anything is allocated."""
DTYPES = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL"})
"""Of tensors stored whole, by safetensors' names."""


class _FirstHeader(Section):
    """What the header of a ticket of version 1 holds, all of it; nothing else is allowed."""

    format: str
    version: int
    network: dict[str, Any]
    shapes: dict[str, list[int]] = Field(min_length=1)
    density: dict[str, float]
    routing: dict[str, Any]
    lineage: Lineage
    content: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Header(_FirstHeader):
    """The same of version 2."""

    values: Values

    @classmethod
    def of_any_version(cls, raw: dict[str, Any], source: str) -> "_Header":
        if raw["version"] == 1:
            return cls(**dict(_FirstHeader.read(raw, source)), values=Values())
        return cls.read(raw, source)


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


def read(path: Path | str) -> Ticket:
    """The ticket in the file at `path`, checked from end to end.

    UserError where it is missing, truncated, changed, newer than this reader, or not what the format allows.
    """
    path = Path(path)
    raw, shapes = container.load_header(path, TICKET)
    header = _checked_header(path, raw, shapes)
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
    if ticket.densities._asdict() != header.density:
        raise UserError(
            f"{path} claims the densities {header.density}, but holds {ticket.densities}; {MENDING}"
        )
    return ticket


def inspect(path: Path | str) -> dict[str, Any]:
    """The header of a ticket file as plain data, and `kept`: how many weights of each layer stay.

    Reads no weights, so it does not notice changed ones; UserError as `read` otherwise.
    """
    path = Path(path)
    raw, shapes = container.load_header(path, TICKET)
    header = _checked_header(path, raw, shapes)
    return header.model_dump() | {"kept": {name: shapes[f"kept.{name}"][1][0] for name in header.shapes}}


def write_state(state: State, path: Path | str, step: int) -> str:
    """Write the complete state at `step` of the schedule; return the file's sha256. Errors as `write`."""
    path = Path(path)
    _refuse_not_finite(state, path)
    tensors = {f"full.{name}": _plain(tensor) for name, tensor in state.items()}
    return container.save_sealed(path, STATE, {"step": step}, tensors)


def read_state(path: Path | str) -> tuple[State, int]:
    """A complete state and its step; UserError as `read`."""
    path = Path(path)
    header, shapes = container.load_header(path, STATE)
    step = header.get("step")
    if header.keys() != {"format", "version", "step", "content"} or type(step) is not int or step < 0:
        raise UserError(f"{path} has no valid step in its header; {MENDING}")
    _check_whole(path, shapes, set(shapes))
    tensors = container.load_tensors(path, header)
    _refuse_not_finite(tensors, path)
    return {name.removeprefix("full."): tensor for name, tensor in tensors.items()}, step


def _checked_header(path: Path, raw: dict[str, Any], shapes: Shapes) -> _Header:
    """The header, once it is complete and agrees with the tensors that the file holds."""
    header = _Header.of_any_version(raw, str(path))
    kind = header.routing.get("kind")
    if kind not in list(ROUTINGS):  # it may be anything, also what has no hash
        raise UserError(
            f"{path} has the routing {kind!r}, but this mirl knows {', '.join(ROUTINGS)}; get a newer one"
        )
    whole = set(shapes)
    if sum(math.prod(shape) for shape in header.shapes.values()) > MOST_ELEMENTS:
        raise UserError(f"{path} claims more than {MOST_ELEMENTS} weights, which no network has; {MENDING}")
    for name, shape in header.shapes.items():
        masked.check(name, shape, shapes, header.values.kind, path)
        whole -= masked.tensors_of(name, header.values.kind)
    _check_whole(path, shapes, whole)
    return header


def _check_whole(path: Path, shapes: Shapes, names: set[str]) -> None:
    """Whether `names` are tensors that may be stored whole."""
    for name in sorted(names):
        dtype = shapes[name][0]
        if not name.startswith("full.") or dtype not in DTYPES:
            raise UserError(f"{path} holds {name} ({dtype}), which the format does not know; {MENDING}")


def _unpack(name: str, header: _Header, tensors: State, path: Path) -> tuple[Tensor, Tensor]:
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
