"""Prunable parameter as a file holds it: the code of its mask, and its kept weights."""

import math
from collections.abc import Sequence
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
"""Types that the kept weights are stored as, by their names in safetensors."""


def tensors_of(name: str, kind: ValueKind, masks: int = 0) -> set[str]:
    """Return the names of the tensors that hold the parameter `name`; `masks` is the number of sub-network masks."""
    parts = ["mask", "kept", *(["peak"] if kind == "int8" else []), *(f"sub.{n}" for n in range(masks))]
    return {f"{part}.{name}" for part in parts}


def pack(name: str, weight: Tensor, keep: Tensor, kind: ValueKind) -> State:
    """Return the tensors of one parameter; weight and mask are plain, and masked weights are 0."""
    assert weight.dtype == torch.float32 and weight.shape == keep.shape, (
        f"{name}: {weight.dtype} {weight.shape}"
    )
    assert not weight[~keep].any(), f"a masked weight of {name} is not zero"
    parts = narrowed(weight[keep], kind)
    assert torch.equal(widened(parts, kind), weight[keep]), f"the weights of {name} are not rounded to {kind}"
    code = torch.from_numpy(bits.encode(keep.numpy().reshape(-1)))
    return {f"{part}.{name}": tensor for part, tensor in {"mask": code, **parts}.items()}


def pack_submasks(name: str, union: Tensor, keeps: Sequence[Tensor]) -> State:
    """Return the code of each sub-network's mask of a parameter, over the elements that their `union` keeps."""
    codes = [bits.encode(keep[union].numpy()) for keep in keeps]
    return {f"sub.{number}.{name}": torch.from_numpy(code) for number, code in enumerate(codes)}


def check(name: str, shape: list[int], held: Shapes, kind: ValueKind, path: Path) -> None:
    """Raises UserError unless the file at `path`, described by `held`, holds this parameter in tensors that may fit."""
    dtype, mask = held.get(f"mask.{name}", ("", []))
    if dtype != "U8" or len(mask) != 1:
        raise UserError(f"{path} has no mask for {name}; {MENDING}")
    dtype, kept = held.get(f"kept.{name}", ("", []))
    fits = dtype == STORED[kind] and len(kept) == 1 and kept[0] <= math.prod(shape)
    fits = fits and (kind != "int8" or held.get(f"peak.{name}") == ("F32", []))
    if not fits or f"full.{name}" in held:
        raise UserError(f"{path} has no kept {kind} weights that fit {name} of shape {shape}; {MENDING}")


def check_submasks(name: str, counts: Sequence[int], held: Shapes, path: Path) -> None:
    """Raises UserError unless the file holds a code for each sub-network's mask of this parameter.

    Also raises UserError if a mask keeps more elements than are stored.
    """
    for number, count in enumerate(counts):
        dtype, code = held.get(f"sub.{number}.{name}", ("", []))
        if dtype != "U8" or len(code) != 1 or count > held[f"kept.{name}"][1][0]:
            raise UserError(f"{path} has no mask {number} for {name} that keeps {count}; {MENDING}")


def unpack_submasks(name: str, union: Tensor, counts: Sequence[int], tensors: State) -> list[Tensor]:
    """Return each sub-network's mask of a parameter.

    Raises ValueError if a code is invalid, or the union of the masks is not `union`.
    """
    keep_N = union.reshape(-1).numpy()
    size = int(np.count_nonzero(keep_N))
    found, seen_M = [], np.zeros(size, bool)
    for number, count in enumerate(counts):
        sub_M = bits.decode(tensors[f"sub.{number}.{name}"].numpy(), size, count)
        seen_M |= sub_M
        sub_N = np.zeros(keep_N.size, bool)
        sub_N[keep_N] = sub_M
        found.append(torch.from_numpy(sub_N).view(union.shape))
    if counts and not seen_M.all():
        raise ValueError("weights are stored that no mask keeps")
    return found


def unpack(
    name: str, shape: list[int], tensors: State, kind: ValueKind, decode: bits.Decode
) -> tuple[Tensor, Tensor]:
    """Return the whole weight, masked elements exactly +0, and its mask.

    Raises ValueError if the tensors disagree.
    """
    parts = {part: tensors[f"{part}.{name}"] for part in ("kept", "peak") if f"{part}.{name}" in tensors}
    kept_M = widened(parts, kind)
    keep_N = decode(tensors[f"mask.{name}"].numpy(), math.prod(shape), kept_M.numel())
    weight_N = np.zeros(keep_N.size, np.float32)
    weight_N[keep_N] = kept_M.numpy()
    return torch.from_numpy(weight_N).view(shape), torch.from_numpy(keep_N).view(shape)
