"""Check that weights fit the network that they name, by names and shapes, before any weight is read."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from mirl.config import UserError
from mirl.networks import Network, NetworkSection, outline, prunable, refuse_other_source
from mirl.tickets.container import DTYPES, MENDING, Shapes

Described = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
"""Type and shape of every entry of a state dict."""


def checked(section: NetworkSection, held: Described, masked: Iterable[str], source: str) -> Network:
    """Return the network of `section` on torch's meta device.

    Raises UserError if `held` or `masked` do not fit the network, or the network may not be built here.
    """
    try:
        refuse_other_source(section)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    try:
        network = outline(section, most=len(held))
    except UserError as error:
        raise UserError(f"{source}: the ticket's weights do not fit its network: {error}") from None
    compare(held, described(network.state_dict()), source)
    if odd := sorted(set(masked) ^ set(prunable(network, section.prune_prompts))):
        raise UserError(
            f"{source}: the ticket's weights do not fit its network: {odd[0]} is "
            f"{'masked, but not' if odd[0] in masked else 'not masked, but'} prunable; {MENDING}"
        )
    return network


def compare(held: Described, wanted: Described, source: str) -> None:
    """Raises UserError, which names one entry, if `held` and `wanted` differ; `source` is what holds `held`."""
    odd = min(
        (name for name in held.keys() | wanted.keys() if held.get(name) != wanted.get(name)), default=None
    )
    if odd is not None:
        raise UserError(
            f"{source}: the ticket's weights do not fit its network: {odd} is {_words(held.get(odd))}, "
            f"expected {_words(wanted.get(odd))}; {MENDING}"
        )


def described(state: Mapping[str, Tensor]) -> Described:
    """Return the type and shape of every entry of a state."""
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()}


def whole(held: Shapes) -> Described:
    """Return the type and shape of every tensor that a file holds whole."""
    return {
        name.removeprefix("full."): (DTYPES[dtype], tuple(shape))
        for name, (dtype, shape) in held.items()
        if name.startswith("full.")
    }


def _words(tensor: tuple[torch.dtype, tuple[int, ...]] | None) -> str:
    return f"{tensor[0]} {tensor[1]}".removeprefix("torch.") if tensor else "nothing"
