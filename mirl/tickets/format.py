"""The ticket file and the state file; `docs/ticket-format.md` specifies both."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mirl.config import Section, UserError
from mirl.sparsity.mask import Mask, State
from mirl.tickets import container
from mirl.tickets.container import MENDING, Kind, Shapes
from mirl.tickets.routing import ROUTINGS
from mirl.tickets.ticket import Lineage, Ticket

TICKET = Kind(format="mirl-ticket", version=1)
STATE = Kind(format="mirl-state", version=1)

MOST_ELEMENTS = 2**31
"""Of one network. A header that claims more is refused before anything is allocated."""
DTYPES = frozenset({"F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL"})
"""Of tensors stored whole, by safetensors' names."""


class _Header(Section):
    """What a ticket's header holds, all of it; nothing else is allowed."""

    format: str
    version: int
    network: dict[str, Any]
    shapes: dict[str, list[int]]
    density: dict[str, float]
    routing: dict[str, Any]
    lineage: Lineage
    content: str = Field(pattern=r"^[0-9a-f]{64}$")


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
        "routing": ticket.routing.model_dump(mode="json"),
        "lineage": ticket.lineage.model_dump(mode="json"),
    }
    return container.save_sealed(path, TICKET, header, _pack(ticket.state, ticket.mask))


def read(path: Path | str) -> Ticket:
    """The ticket in the file at `path`, checked from end to end.

    UserError where it is missing, truncated, changed, newer than this reader, or not what the format allows.
    """
    path = Path(path)
    header = _checked_header(path, *container.load_header(path, TICKET))
    tensors = container.load_tensors(path, header.model_dump())
    _refuse_not_finite(tensors, path)
    masked = {name: _unpack(name, shape, tensors, path) for name, shape in header.shapes.items()}
    state = {
        name.removeprefix("full."): tensor for name, tensor in tensors.items() if name.startswith("full.")
    }
    state |= {name: weight for name, (weight, _) in masked.items()}
    ticket = Ticket(
        network=header.network,
        state={name: state[name] for name in sorted(state)},
        mask=Mask({name: keep for name, (_, keep) in masked.items()}),
        routing=ROUTINGS[header.routing["kind"]].read(header.routing, f"{path}: routing"),
        lineage=header.lineage,
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
    header = _Header.read(raw, str(path))
    kind = header.routing.get("kind")
    if kind not in ROUTINGS:
        raise UserError(
            f"{path} has the routing {kind!r}, but this mirl knows {', '.join(ROUTINGS)}; get a newer one"
        )
    for name, shape in header.shapes.items():
        elements = math.prod(shape)
        if min(shape, default=1) < 1 or elements > MOST_ELEMENTS:
            raise UserError(f"{path} gives {name} the shape {shape}, which no layer has; {MENDING}")
        if shapes.get(f"mask.{name}") != ("U8", [-(-elements // 8)]):
            raise UserError(f"{path} has no mask of {elements} bits for {name}; {MENDING}")
        dtype, kept = shapes.get(f"kept.{name}", ("", []))
        if dtype != "F32" or len(kept) != 1 or kept[0] > elements or f"full.{name}" in shapes:
            raise UserError(f"{path} has no kept weights that fit {name} of shape {shape}; {MENDING}")
    masked = {f"{part}.{name}" for part in ("mask", "kept") for name in header.shapes}
    _check_whole(path, shapes, shapes.keys() - masked)
    return header


def _check_whole(path: Path, shapes: Shapes, names: set[str]) -> None:
    """Whether `names` are tensors that may be stored whole."""
    for name in sorted(names):
        dtype = shapes[name][0]
        if not name.startswith("full.") or dtype not in DTYPES:
            raise UserError(f"{path} holds {name} ({dtype}), which the format does not know; {MENDING}")


def _pack(state: State, mask: Mask) -> State:
    tensors = {f"full.{name}": _plain(tensor) for name, tensor in state.items() if name not in mask}
    for name, keep in mask.items():
        weight, flat = _plain(state[name]), _plain(keep)
        assert weight.dtype == torch.float32 and weight.shape == flat.shape, (
            f"{name}: {weight.dtype} {weight.shape}"
        )
        assert not weight[~flat].any(), f"a masked weight of {name} is not zero"
        tensors[f"mask.{name}"] = torch.from_numpy(np.packbits(flat.numpy().reshape(-1), bitorder="big"))
        tensors[f"kept.{name}"] = weight[flat]
    return tensors


def _unpack(name: str, shape: list[int], tensors: State, path: Path) -> tuple[Tensor, Tensor]:
    """The whole weight, masked elements exactly +0, and its mask."""
    bits = np.unpackbits(tensors[f"mask.{name}"].numpy(), bitorder="big")
    elements = math.prod(shape)
    if bits[elements:].any():
        raise UserError(f"{path} has bits set behind the end of the mask of {name}; {MENDING}")
    keep = torch.from_numpy(bits[:elements].astype(bool)).view(shape)
    kept = tensors[f"kept.{name}"]
    if int(keep.sum()) != kept.numel():
        raise UserError(
            f"{path} keeps {int(keep.sum())} weights of {name}, but holds {kept.numel()}; {MENDING}"
        )
    weight = torch.zeros(shape)
    weight[keep] = kept
    return weight, keep


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous, in memory of its own: what safetensors takes."""
    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _refuse_not_finite(tensors: State, path: Path) -> None:
    broken = next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken:
        raise UserError(
            f"{path}: {broken.removeprefix('full.')} holds a value that is not finite; train it anew"
        )
