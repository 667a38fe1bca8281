"""How the kept weights of a ticket are written, and what rounding them to fewer bits makes of it.

Dims: M kept weights of one parameter.
"""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mirl.config import Section
from mirl.sparsity.mask import State

ValueKind = Literal["fp32", "fp16", "bf16", "int8"]
DTYPES: dict[ValueKind, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "int8": torch.int8,
}
LEVELS = 127
"""Of int8 on each side of zero; the largest magnitude of a parameter has the last one."""


class Values(Section):
    """The kind of the kept weights in a ticket's file. Training makes fp32; the others are rounded from such a ticket."""

    kind: ValueKind = "fp32"
    packed_from: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """sha256 of the file that they were rounded from; empty where they are as trained."""

    @model_validator(mode="after")
    def _rounded_from_something(self) -> "Values":
        if (self.kind == "fp32") != (self.packed_from == ""):
            raise ValueError("fp32 values are packed from nothing, and all others from a ticket")
        return self


def narrowed(weight_M: Tensor, kind: ValueKind) -> State:
    """float32 weights as they are stored: `kept`, and beside int8 their largest magnitude, `peak`."""
    if kind != "int8":
        return {"kept": weight_M.to(DTYPES[kind])}
    peak = weight_M.abs().amax() if weight_M.numel() else torch.zeros(())
    # In float64, so that the peak comes back exactly, and what was rounded once is not rounded again.
    level_M = weight_M.double() / peak.double().clamp(min=torch.finfo(torch.float64).tiny) * LEVELS
    return {"kept": level_M.round().to(torch.int8), "peak": peak}


def widened(stored: State, kind: ValueKind) -> Tensor:
    """The float32 weights of what `narrowed` made; ValueError where it cannot have made that."""
    if kind != "int8":
        return stored["kept"].float()
    if bool((stored["kept"] < -LEVELS).any()) or stored["peak"] < 0:
        raise ValueError(f"a level is below -{LEVELS}, or the peak below 0")
    return (stored["kept"].double() * stored["peak"].double() / LEVELS).float()
