"""Header of a ticket, and the check, before any tensor is read, that the header and the tensors may be read.

The cost of reading is bounded by what the file has: nothing is multiplied, allocated or decoded before its size is
known.
"""

import math
import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mirl.config import Section, UserError
from mirl.names import Name
from mirl.networks import NetworkSection, is_own
from mirl.sparsity.masks import ONE
from mirl.tickets import masked
from mirl.tickets.container import DTYPES, MENDING, Shapes
from mirl.tickets.lineage import Lineage
from mirl.tickets.routing import (
    ROUTINGS,
    Routing,
    Static,
    refuse_other_masks,
    refuse_other_router,
)
from mirl.tickets.values import Values

MOST_ELEMENTS = 2**28
"""Largest number of elements of all tensors of a file together: eight times those of full-size PromptIR."""
ELEMENTS_PER_BYTE = 256
"""Largest number of prunable weights for each byte of a file. Full-size PromptIR has 98 with one in a thousand kept,
as int8."""
MOST_DIMENSIONS = 8
MOST_MASKS = 64
MASKS_LIKE_ONE = 4
"""Number of masks in the header of version 3 that count as much as the elements that they cover: one takes a byte of
memory for each element, and the weight and all else about 6."""
NAME = re.compile(r"[A-Za-z0-9_.]{1,200}")
"""Valid name of a parameter or buffer."""
Shape = Annotated[list[int], Field(max_length=MOST_DIMENSIONS)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Density(Section):
    prunable: Share
    all: Share


class FirstHeader(Section):
    """Complete header of a ticket of version 1; nothing else is allowed."""

    format: str
    version: int
    network: dict[str, Any]
    shapes: dict[str, Shape] = Field(min_length=1)
    density: _Density
    routing: dict[str, Any]
    lineage: Lineage
    content: str = Field(pattern=r"^[0-9a-f]{64}$")


class SecondHeader(FirstHeader):
    """Complete header of a ticket of version 2."""

    values: Values


class SubMask(Section):
    """One of several masks."""

    name: Name
    kept: list[Annotated[int, Field(ge=0)]]
    """Number of elements that the mask keeps of each prunable parameter, in name order."""


class ThirdHeader(SecondHeader):
    """Complete header of a ticket of version 3."""

    masks: list[SubMask] = Field(min_length=1, max_length=MOST_MASKS)


HEADERS: dict[int, type[FirstHeader]] = {1: FirstHeader, 2: SecondHeader, 3: ThirdHeader}
"""Version of the format -> its header."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """Content of a header of any version."""

    raw: FirstHeader
    network: NetworkSection
    routing: Routing

    @property
    def shapes(self) -> dict[str, list[int]]:
        return self.raw.shapes

    @property
    def values(self) -> Values:
        return self.raw.values if isinstance(self.raw, SecondHeader) else Values()

    @property
    def masks(self) -> Sequence[SubMask]:
        """Masks of the sub-networks; empty in a file with one mask, which is the mask of the stored weights."""
        return self.raw.masks if isinstance(self.raw, ThirdHeader) else []

    @cached_property
    def submasks(self) -> dict[str, list[int]]:
        """Number of elements that each of the masks keeps, by parameter."""
        names = sorted(self.shapes)
        return {name: [mask.kept[place] for mask in self.masks] for place, name in enumerate(names)}

    def plain(self) -> dict[str, Any]:
        """Return the header as JSON data, which names the kind of its values for every version."""
        return self.raw.model_dump() | {"values": self.values.model_dump()}


def checked(path: Path, raw: dict[str, Any], held: Shapes) -> Header:
    """Return the header, checked to be complete and to agree with the tensors that the file at `path` holds.

    Raises UserError otherwise.
    """
    version = raw["version"]
    found = HEADERS[version].read(raw, str(path))
    kind = found.routing.get("kind")
    if kind not in list(ROUTINGS):  # it may be anything, also what has no hash
        raise UserError(
            f"{path} has the routing {reprlib.repr(kind)}, but this mirl knows {', '.join(ROUTINGS)}; get a newer one"
        )
    routing = ROUTINGS[kind].read(found.routing, f"{path}: routing")
    if version < 3 and not isinstance(routing, Static):
        raise UserError(
            f"{path} has the routing {kind}, which there is none of in version {version}; {MENDING}"
        )
    header = Header(
        raw=found, network=NetworkSection.read(found.network, f"{path}: network"), routing=routing
    )
    if version < 3 and header.network.router:
        raise UserError(f"{path} has a router, which there is none of in version {version}; {MENDING}")
    if is_own(header.network.name) and not found.network.get("source"):
        raise UserError(f"{path} does not say which source its network has; {MENDING}")
    check_tensors(path, held)
    _check_elements(path, header)
    _check_masks(path, header)
    whole = set(held)
    for name, shape in header.shapes.items():
        masked.check(name, shape, held, header.values.kind, path)
        masked.check_submasks(name, header.submasks[name], held, path)
        whole -= masked.tensors_of(name, header.values.kind, len(header.masks))
    check_whole(path, held, whole)
    return header


def _check_masks(path: Path, header: Header) -> None:
    """Raises UserError unless the masks have different names, are complete and are those of the routing."""
    names = [mask.name for mask in header.masks]
    if len(set(names)) < len(names):
        raise UserError(f"{path} has two masks of one name; {MENDING}")
    for mask in header.masks:
        if len(mask.kept) != len(header.shapes):
            raise UserError(
                f"{path} says of {len(mask.kept)} parameters what the mask {mask.name} keeps, expected "
                f"{len(header.shapes)}; {MENDING}"
            )
    try:
        refuse_other_masks(header.routing, names or [ONE])
        refuse_other_router(header.routing, header.network.router_outputs)
    except ValueError as error:
        raise UserError(f"{path} cannot be run: {error}; {MENDING}") from None


def check_tensors(path: Path, held: Shapes) -> None:
    """Raises UserError unless every tensor has a name that can be shown and few dimensions.

    Also raises UserError if all tensors together have too many elements.
    """
    for name, (_, shape) in held.items():
        _check_name(path, name)
        if len(shape) > MOST_DIMENSIONS:
            raise UserError(f"{path} gives {name} {len(shape)} dimensions, which no layer has; {MENDING}")
    _refuse_many(path, sum(math.prod(shape) for _, shape in held.values()))


def check_whole(path: Path, held: Shapes, names: set[str]) -> None:
    """Raises UserError unless `names` are tensors that may be stored whole."""
    for name in sorted(names):
        dtype, shape = held[name]
        if not name.startswith("full.") or dtype not in DTYPES or min(shape, default=1) < 1:
            raise UserError(f"{path} holds {name} ({dtype}), which the format does not know; {MENDING}")


def _check_elements(path: Path, header: Header) -> None:
    """Raises UserError if a shape is impossible, or the masks stand for more elements than such a file can tell of."""
    elements, masks = 0, len(header.masks)
    for name, shape in header.shapes.items():
        _check_name(path, name)
        if not all(1 <= size <= MOST_ELEMENTS for size in shape):
            raise UserError(f"{path} gives {name} the shape {shape}, which no layer has; {MENDING}")
        elements += math.prod(shape)
    _refuse_many(path, elements, masks)
    size, most = path.stat().st_size, _shared(ELEMENTS_PER_BYTE, masks)
    if elements > most * size:
        raise UserError(
            f"{path} claims {elements} weights in {size} bytes, more than {most} for each; {MENDING}"
        )


def _refuse_many(path: Path, elements: int, masks: int = 0) -> None:
    if elements > (most := _shared(MOST_ELEMENTS, masks)):
        so_many = f"under {masks} masks " if masks else ""
        raise UserError(f"{path} claims more than {most} weights, which no network {so_many}has; {MENDING}")


def _shared(most: int, masks: int) -> int:
    """Return the limit `most` on elements, lowered for `masks` masks in the header that each cover all of them."""
    return MASKS_LIKE_ONE * most // (MASKS_LIKE_ONE + masks)


def _check_name(path: Path, name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(
            f"{path} names a tensor {name[:80]!r}, expected letters, digits, _ and dots; {MENDING}"
        )
