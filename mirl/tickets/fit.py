"""Whether a ticket is one of the network that it names: asked of names and shapes, before there are any weights."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirl.config import UserError
from mirl.networks import Network, NetworkSection, outline, prunable
from mirl.sparsity.mask import State
from mirl.tickets import format as ticket_format
from mirl.tickets.container import MENDING, Shapes
from mirl.tickets.header import DTYPES, Header
from mirl.tickets.ticket import Ticket

Tensors = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
"""Type and shape of every entry of a state dict."""


def read(path: Path | str) -> Ticket:
    """The ticket in the file at `path`, of the network that it names; UserError as `format.read`, and where it is not.

    A file that does not fit its network is refused by its header: none of its tensors is read.
    """

    def look(header: Header, held: Shapes) -> None:
        prunables = {name: (torch.float32, tuple(shape)) for name, shape in header.shapes.items()}
        _check(header.network, {**prunables, **_whole(held)}, header.shapes, str(path))

    return ticket_format.read(path, look)


def read_state(path: Path | str, ticket: Ticket) -> tuple[State, int]:
    """The state in the file at `path` and its step, of the network of `ticket`; UserError as `read`."""
    return ticket_format.read_state(
        path, lambda held: _compare(_whole(held), _described(ticket.state), str(path))
    )


def network_of(ticket: Ticket) -> Network:
    """The network that the ticket names, on the meta device; UserError where its weights do not fit it."""
    return _check(ticket.network, _described(ticket.state), ticket.mask, "the ticket")


def built(ticket: Ticket) -> Network:
    """The ticket's network with its weights, on the CPU, channels-last; UserError as `network_of`.

    Shares the memory of weights that lie alike: nobody writes into them.
    """
    network = network_of(ticket)
    laid = {name: _laid_as(like, ticket.state[name]) for name, like in network.state_dict().items()}
    network.load_state_dict(laid, assign=True)
    return network


def _check(spec: dict[str, Any], held: Tensors, masked: Iterable[str], source: str) -> Network:
    section = NetworkSection.read(spec, f"{source}: network")
    try:
        network = outline(section, most=len(held))
    except UserError as error:
        raise UserError(f"{source}: the ticket's weights do not fit its network: {error}") from None
    _compare(held, _described(network.state_dict()), source)
    if odd := sorted(set(masked) ^ set(prunable(network, section.prune_prompts))):
        raise UserError(
            f"{source}: the ticket's weights do not fit its network: {odd[0]} is "
            f"{'masked, but not' if odd[0] in masked else 'not masked, but'} prunable; {MENDING}"
        )
    return network


def _compare(held: Tensors, wanted: Tensors, source: str) -> None:
    odd = min(
        (name for name in held.keys() | wanted.keys() if held.get(name) != wanted.get(name)), default=None
    )
    if odd is not None:
        raise UserError(
            f"{source}: the ticket's weights do not fit its network: {odd} is {_words(held.get(odd))}, "
            f"expected {_words(wanted.get(odd))}; {MENDING}"
        )


def _described(state: Mapping[str, Tensor]) -> Tensors:
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()}


def _whole(held: Shapes) -> Tensors:
    """What a file holds whole."""
    return {
        name.removeprefix("full."): (DTYPES[dtype], tuple(shape))
        for name, (dtype, shape) in held.items()
        if name.startswith("full.")
    }


def _words(tensor: tuple[torch.dtype, tuple[int, ...]] | None) -> str:
    return f"{tensor[0]} {tensor[1]}".removeprefix("torch.") if tensor else "nothing"


def _laid_as(like: Tensor, tensor: Tensor) -> Tensor:
    """`tensor`, or a copy of it, that lies in memory as `like` does."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, device="cpu").copy_(tensor)
