"""The header of a ticket, and whether it and the tensors that a file holds may be read: known before any is.

What reading costs is bounded by what the file has: nothing is multiplied, allocated or decoded before its size is known.
"""

import math
import re
import reprlib
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from mirl.config import Section, UserError
from mirl.tickets import masked
from mirl.tickets.container import MENDING, Shapes
from mirl.tickets.routing import ROUTINGS
from mirl.tickets.ticket import Lineage
from mirl.tickets.values import Values

MOST_ELEMENTS = 2**28
"""Of all tensors of a file together: eight times those of full-size PromptIR."""
ELEMENTS_PER_BYTE = 256
"""Prunable weights for each byte of a file, at most. Full-size PromptIR has 98 with one in a thousand kept, as int8."""
MOST_DIMENSIONS = 8
NAME = re.compile(r"[A-Za-z0-9_.]{1,200}")
"""Of a parameter or buffer."""
DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Of tensors stored whole, by safetensors' names."""

Shape = Annotated[list[int], Field(max_length=MOST_DIMENSIONS)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Density(Section):
    prunable: Share
    all: Share


class FirstHeader(Section):
    """What the header of a ticket of version 1 holds, all of it; nothing else is allowed."""

    format: str
    version: int
    network: dict[str, Any]
    shapes: dict[str, Shape] = Field(min_length=1)
    density: _Density
    routing: dict[str, Any]
    lineage: Lineage
    content: str = Field(pattern=r"^[0-9a-f]{64}$")


class Header(FirstHeader):
    """The same of version 2."""

    values: Values

    @classmethod
    def of_any_version(cls, raw: dict[str, Any], source: str) -> "Header":
        """What `raw` says; `source` names it in errors."""
        if raw["version"] == 1:
            return cls(**dict(FirstHeader.read(raw, source)), values=Values())
        return cls.read(raw, source)


def checked(path: Path, raw: dict[str, Any], held: Shapes) -> Header:
    """The header, once it is complete and agrees with the tensors that the file at `path` holds."""
    header = Header.of_any_version(raw, str(path))
    kind = header.routing.get("kind")
    if kind not in list(ROUTINGS):  # it may be anything, also what has no hash
        raise UserError(
            f"{path} has the routing {reprlib.repr(kind)}, but this mirl knows {', '.join(ROUTINGS)}; get a newer one"
        )
    check_tensors(path, held)
    _check_elements(path, header.shapes)
    whole = set(held)
    for name, shape in header.shapes.items():
        masked.check(name, shape, held, header.values.kind, path)
        whole -= masked.tensors_of(name, header.values.kind)
    check_whole(path, held, whole)
    return header


def check_tensors(path: Path, held: Shapes) -> None:
    """UserError unless every tensor has a name that can be shown, few dimensions, and all together few elements."""
    for name, (_, shape) in held.items():
        _check_name(path, name)
        if len(shape) > MOST_DIMENSIONS:
            raise UserError(f"{path} gives {name} {len(shape)} dimensions, which no layer has; {MENDING}")
    _refuse_many(path, sum(math.prod(shape) for _, shape in held.values()))


def check_whole(path: Path, held: Shapes, names: set[str]) -> None:
    """UserError unless `names` are tensors that may be stored whole."""
    for name in sorted(names):
        dtype, shape = held[name]
        if not name.startswith("full.") or dtype not in DTYPES or min(shape, default=1) < 1:
            raise UserError(f"{path} holds {name} ({dtype}), which the format does not know; {MENDING}")


def _check_elements(path: Path, shapes: dict[str, list[int]]) -> None:
    """UserError where the masks stand for more than such a file can tell of."""
    elements = 0
    for name, shape in shapes.items():
        _check_name(path, name)
        if not all(1 <= size <= MOST_ELEMENTS for size in shape):
            raise UserError(f"{path} gives {name} the shape {shape}, which no layer has; {MENDING}")
        elements += math.prod(shape)
    _refuse_many(path, elements)
    size = path.stat().st_size
    if elements > ELEMENTS_PER_BYTE * size:
        raise UserError(
            f"{path} claims {elements} weights in {size} bytes, more than {ELEMENTS_PER_BYTE} for each; {MENDING}"
        )


def _refuse_many(path: Path, elements: int) -> None:
    if elements > MOST_ELEMENTS:
        raise UserError(f"{path} claims more than {MOST_ELEMENTS} weights, which no network has; {MENDING}")


def _check_name(path: Path, name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(
            f"{path} names a tensor {name[:80]!r}, expected letters, digits, _ and dots; {MENDING}"
        )
