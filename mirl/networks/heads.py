"""Heads: the up-samplers of a network that enlarges by several scales, one for each.

A head is an ordinary submodule, prunable as all else. Which head a sub-network runs its mask says: the one of which it
keeps weights.
"""

import copy
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import AfterValidator, Field
from torch import Tensor, nn

from mirl.config import Section, UserError
from mirl.networks.network import Network

Part = TypeVar("Part")
_OF_HEAD = re.compile(r"heads\.x(\d+)\.")
"""Beginning of the names of the parameters of a head."""


def _once(scales: list[int]) -> list[int]:
    if len(set(scales)) < len(scales):
        raise ValueError("a scale is named twice; name it once")
    return scales


class ScalesOptions(Section):
    """Scales of a network that has a head for each."""

    scales: Annotated[list[Annotated[int, Field(ge=2, le=4)]], AfterValidator(_once)] = Field(
        default=[4], min_length=1
    )
    """Sides of the enlarged image divided by those of the small one."""


class ScalesNetwork(Network):
    """Network with a head for each of its scales; it runs the first of them, and `only` makes it run another."""

    Options: ClassVar[type[ScalesOptions]]
    heads: nn.ModuleDict

    def __init__(self, options: ScalesOptions) -> None:
        super().__init__()
        self.scale = options.scales[0]

    def add_heads(self, scales: Sequence[int], make: Callable[[int], nn.Module]) -> None:
        """Add the head that `make` returns for each scale, after all else, so that no weight depends on later scales."""
        self.heads = nn.ModuleDict({_key(scale): make(scale) for scale in scales})

    @property
    def head(self) -> nn.Module:
        """Head that is run."""
        return self.heads[_key(self.scale)]

    def by_head(self) -> list[Self]:
        """Return for each head the network with that one alone; all share their parameters."""
        return [self.only(int(key.removeprefix("x"))) for key in self.heads]

    def only(self, scale: int) -> Self:
        """Return the network with the head of that scale alone; the two share their parameters."""
        found = copy.copy(self)
        found._modules = {**self._modules, "heads": nn.ModuleDict({_key(scale): self.heads[_key(scale)]})}
        found.scale = scale
        return found


def scale_of(name: str) -> int | None:
    """Return the scale of the head to which a parameter belongs by its name; None if it belongs to all scales."""
    found = _OF_HEAD.match(name)
    return int(found[1]) if found else None


def working(parts: Mapping[str, Part], scales: Collection[int]) -> dict[str, Part]:
    """Return the entries, by name of a parameter, of those that have a part in enlarging by any of these scales."""
    others = {name for name in parts if scale_of(name) not in {None, *scales}}
    return {name: part for name, part in parts.items() if name not in others}


def head_kept(mask: Mapping[str, Tensor], scales: Sequence[int]) -> int:
    """Return the first of the scales of whose head the mask keeps weights.

    Raises UserError if it keeps none of any head.
    """
    kept = {scale_of(name) for name, keep in mask.items() if bool(keep.any())}
    for scale in scales:
        if scale in kept:
            return scale
    raise UserError(
        f"a sub-network keeps nothing of the heads for {', '.join(f'x{scale}' for scale in scales)}, so it enlarges by no "
        "scale; keep a part of one"
    )


def _key(scale: int) -> str:
    return f"x{scale}"
