"""A prunable parameter as a file holds it: the code of its mask, and its kept weights."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mirl.config import UserError
from mirl.sparsity.mask import State
from mirl.tickets import bits
from mirl.tickets.container import MENDING, Shapes
from mirl.tickets.values import ValueKind, narrowed, widened

STORED: dict[ValueKind, str] = {"fp32": "F32", "fp16": "F16", "bf16": "BF16", "int8": "I8"}
"""safetensors' names of what the kept weights are stored as."""


def tensors_of(name: str, kind: ValueKind) -> set[str]:
    """Names of the tensors that hold the parameter `name`."""
    return {f"{part}.{name}" for part in ("mask", "kept", *(["peak"] if kind == "int8" else []))}


def pack(name: str, weight: Tensor, keep: Tensor, kind: ValueKind) -> State:
    """The tensors of one parameter; weight and mask are plain, what is masked is 0."""
    assert weight.dtype == torch.float32 and weight.shape == keep.shape, (
        f"{name}: {weight.dtype} {weight.shape}"
    )
    assert not weight[~keep].any(), f"a masked weight of {name} is not zero"
    parts = narrowed(weight[keep], kind)
    assert torch.equal(widened(parts, kind), weight[keep]), f"the weights of {name} are not rounded to {kind}"
    code = torch.from_numpy(bits.encode(keep.numpy().reshape(-1)))
    return {f"{part}.{name}": tensor for part, tensor in {"mask": code, **parts}.items()}


def check(name: str, shape: list[int], held: Shapes, kind: ValueKind, path: Path) -> None:
    """UserError unless the file at `path`, which `held` describes, holds this parameter in tensors that may fit."""
    dtype, mask = held.get(f"mask.{name}", ("", []))
    if dtype != "U8" or len(mask) != 1:
        raise UserError(f"{path} has no mask for {name}; {MENDING}")
    dtype, kept = held.get(f"kept.{name}", ("", []))
    fits = dtype == STORED[kind] and len(kept) == 1 and kept[0] <= math.prod(shape)
    fits = fits and (kind != "int8" or held.get(f"peak.{name}") == ("F32", []))
    if not fits or f"full.{name}" in held:
        raise UserError(f"{path} has no kept {kind} weights that fit {name} of shape {shape}; {MENDING}")


def unpack(
    name: str, shape: list[int], tensors: State, kind: ValueKind, decode: bits.Decode
) -> tuple[Tensor, Tensor]:
    """The whole weight, masked elements exactly +0, and its mask; ValueError where the tensors disagree."""
    parts = {part: tensors[f"{part}.{name}"] for part in ("kept", "peak") if f"{part}.{name}" in tensors}
    kept_M = widened(parts, kind)
    keep_N = decode(tensors[f"mask.{name}"].numpy(), math.prod(shape), kept_M.numel())
    weight_N = np.zeros(keep_N.size, np.float32)
    weight_N[keep_N] = kept_M.numpy()
    return torch.from_numpy(weight_N).view(shape), torch.from_numpy(keep_N).view(shape)
