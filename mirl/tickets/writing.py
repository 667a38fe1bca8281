"""Writers of tickets and states; `docs/ticket-format.md` specifies both files."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirl.config import UserError
from mirl.sparsity.mask import State
from mirl.sparsity.masks import ONE
from mirl.tickets import container, masked
from mirl.tickets.container import FileKind
from mirl.tickets.header import MOST_MASKS, SubMask
from mirl.tickets.routing import Static
from mirl.tickets.ticket import Ticket

TICKET = FileKind(format="mirl-ticket", version=3)
STATE = FileKind(format="mirl-state", version=1)


def write(ticket: Ticket, path: Path | str) -> str:
    """Write the ticket to `path`, whole or not at all; return the SHA-256 digest of the file.

    The format is the oldest that can hold the ticket: version 2 for one mask that has no name of its own and always
    runs, 3 for all else. Raises UserError if the file cannot be written, a weight is not finite, or there are more
    masks than a reader takes.
    """
    path = Path(path)
    if len(ticket.masks) > MOST_MASKS:
        raise UserError(
            f"{path} would have {len(ticket.masks)} masks, expected at most {MOST_MASKS}; make fewer"
        )
    refuse_not_finite(ticket.state, path)
    header: dict[str, Any] = {
        "network": ticket.network.spec(),
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
    if list(ticket.masks) == [ONE] and isinstance(ticket.routing, Static) and not ticket.network.router:
        return container.save_sealed(path, TICKET, header, tensors, version=2)
    for name, keep in ticket.mask.items():
        keeps = [_plain(mask[name]) for mask in ticket.masks.values()]
        tensors |= masked.pack_submasks(name, _plain(keep), keeps)
    header["masks"] = [
        SubMask(name=name, kept=list(mask.layer_kept().values())).model_dump()
        for name, mask in ticket.masks.items()
    ]
    return container.save_sealed(path, TICKET, header, tensors, version=3)


def write_state(state: State, path: Path | str, step: int) -> str:
    """Write the complete state at `step` of the schedule; return the SHA-256 digest of the file.

    Raises UserError as `write` does.
    """
    path = Path(path)
    refuse_not_finite(state, path)
    tensors = {f"full.{name}": _plain(tensor) for name, tensor in state.items()}
    return container.save_sealed(path, STATE, {"step": step}, tensors)


def refuse_not_finite(tensors: State, path: Path) -> None:
    """Raises UserError if one of `tensors` holds a value that is not finite; `path` is the file that they are in."""
    broken = next((name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())), None)
    if broken:
        raise UserError(
            f"{path}: {broken.removeprefix('full.')} holds a value that is not finite; train it anew"
        )


def _plain(tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU, contiguous and in memory of its own, as safetensors needs it."""
    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
