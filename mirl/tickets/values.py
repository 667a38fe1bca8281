"""Values of a ticket's kept weights: the types in which they are stored, and the rounding to fewer bits.

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
"""Number of levels of int8 on each side of zero; the largest magnitude of a parameter has the last one."""


class Values(Section):
    """Kind of the kept weights in a ticket's file. Training makes fp32; the others are rounded from such a ticket."""

    kind: ValueKind = "fp32"
    packed_from: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """SHA-256 digest of the file that the values were rounded from; empty if they are as trained."""

    @property
    def relative(self) -> bool:
        """True if the levels of a parameter depend on its largest weight: what is added may round the others anew."""
        return self.kind == "int8"

    @model_validator(mode="after")
    def _rounded_from_something(self) -> "Values":
        if (self.kind == "fp32") != (self.packed_from == ""):
            raise ValueError("fp32 values are packed from nothing, and all others from a ticket")
        return self


def narrowed(weight_M: Tensor, kind: ValueKind) -> State:
    """Convert float32 weights to their stored form: `kept`, and for int8 also the largest magnitude, `peak`."""
    if kind != "int8":
        return {"kept": weight_M.to(DTYPES[kind])}
    peak = weight_M.abs().amax() if weight_M.numel() else torch.zeros(())
    # In float64, so that the peak comes back exactly, and what was rounded once is not rounded again.
    level_M = weight_M.double() / peak.double().clamp(min=torch.finfo(torch.float64).tiny) * LEVELS
    return {"kept": level_M.round().to(torch.int8), "peak": peak}


def widened(stored: State, kind: ValueKind) -> Tensor:
    """Return the float32 weights of what `narrowed` made. Raises ValueError if `stored` cannot come from there."""
    if kind != "int8":
        return stored["kept"].float()
    if bool((stored["kept"] < -LEVELS).any()) or stored["peak"] < 0:
        raise ValueError(f"a level is below -{LEVELS}, or the peak below 0")
    return (stored["kept"].double() * stored["peak"].double() / LEVELS).float()
