"""Widening of a network: the weights of the narrower one become a corner of the wider one's.

What the narrower network computed is computed by *it*, from that corner: a norm over channels would see the new ones too,
and sums over more channels may round otherwise.

Where a gate takes the outputs of a layer apart, both halves have a corner, so that what was multiplied still is.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mirl.config import UserError
from mirl.networks import NetworkSection, network_class, outline

MOST_TENSORS = 100_000
"""Largest number of parameters of a network that is asked for here."""
Places = tuple[Tensor, ...]
"""Index of each dimension of a wider tensor, which picks the corner that a narrower one has: `tensor[places]`."""


def widened(section: NetworkSection, factor: float, names: list[str]) -> NetworkSection:
    """Return the network with `factor` times the channels, in which the sub-networks `names` stay of the present one.

    Raises UserError if the network cannot be widened, or the factor does not widen it.
    """
    kind = network_class(section.name)
    if not kind.widths:
        raise UserError(
            f"the network {section.name} cannot be widened, it names no `widths`: heads or joined features tell channels "
            "apart by their places; leave out `widen`, and begin with a wider network"
        )
    present = kind.Options.model_validate(section.options)
    wider = {name: round(getattr(present, name) * factor) for name in kind.widths}
    if same := [name for name, value in wider.items() if value <= getattr(present, name)]:
        raise UserError(
            f"widened {factor:g} times, `{same[0]}` of {section.name} stays at {wider[same[0]]}; use a larger `widen`"
        )
    stay = dict.fromkeys([name for name in names if name not in section.narrower], section.options)
    return section.model_copy(
        update={"options": {**section.options, **wider}, "narrower": {**section.narrower, **stay}}
    )


def own_network(section: NetworkSection, name: str) -> NetworkSection:
    """Return the network that the sub-network `name` is one of."""
    options = section.narrower.get(name, section.options)
    return section.model_copy(update={"options": options, "narrower": {}})


def corners(section: NetworkSection, name: str) -> dict[str, Places]:
    """Return where the network of the sub-network `name` has its parameters and buffers in those of `section`.

    Empty if it is the same network; what it has not, such as a head that came later, has no place. Raises UserError if it
    is not a narrower one of the same make.
    """
    if name not in section.narrower:
        return {}
    large = _shapes(section)
    small = _shapes(own_network(section, name), most=len(large))
    if not small.keys() <= large.keys():
        raise UserError(
            f"the network of the sub-network {name} has other layers than the whole, expected the same with fewer channels"
        )
    return {key: _places(large[key], shape, _parts(section, key)) for key, shape in small.items()}


def cut_out(values: Mapping[str, Tensor], where: Mapping[str, Places]) -> dict[str, Tensor]:
    """Return the corner of each tensor that has a place, in memory of its own."""
    return {name: tensor[where[name]] for name, tensor in values.items() if name in where}


def inside(like: Tensor, places: Places | None) -> Tensor:
    """Return True at the places of a corner, in the shape of the tensor `like`; nowhere if there is none."""
    found = torch.zeros_like(like, dtype=torch.bool)
    if places is not None:
        found[places] = True
    return found


def put_in(
    values: Mapping[str, Tensor], fresh: Mapping[str, Tensor], narrow: NetworkSection
) -> dict[str, Tensor]:
    """Return the tensors of `fresh`, a wider network's, with those of the network `narrow` in their corners.

    `values` may lack tensors, and have a share of the outputs of others, as in a forecast: then so has the result.
    """
    shapes, found = _shapes(narrow), {}
    for name, tensor in values.items():
        outputs = shapes[name][:1]
        share = len(tensor) / outputs[0] if outputs else 1
        whole = fresh[name][: math.ceil(len(fresh[name]) * share)] if outputs else fresh[name]
        found[name] = whole.clone(memory_format=torch.contiguous_format)
        found[name][_places(whole.shape, tensor.shape, _parts(narrow, name))] = tensor
    return found


def _shapes(section: NetworkSection, most: int = MOST_TENSORS) -> dict[str, torch.Size]:
    """Return the shape of every tensor of the network's state. Raises UserError if it has more than `most` parameters."""
    return {name: tensor.shape for name, tensor in outline(section, most).state_dict().items()}


def _parts(section: NetworkSection, name: str) -> int:
    """Return in how many equal parts the outputs of a tensor's layer are taken apart."""
    layer = name.split(".")[-2:][0]
    return 2 if layer in network_class(section.name).gated else 1


def _places(large: torch.Size, small: torch.Size, parts: int) -> Places:
    """Return the places of the corner: the first of each dimension, and of each of so many `parts` of the outputs.

    Raises UserError if one does not hold the other.
    """
    if len(large) != len(small) or any(few > many for many, few in zip(large, small)):
        raise UserError(f"a tensor of {tuple(large)} has no corner of {tuple(small)}, expected a smaller one")
    found = []
    for place, (many, few) in enumerate(zip(large, small)):
        count = parts if place == 0 and many % parts == few % parts == 0 else 1
        index = torch.arange(many).view(count, -1)[:, : few // count].flatten()
        found.append(index.view([-1 if place == dimension else 1 for dimension in range(len(large))]))
    return tuple(found)
