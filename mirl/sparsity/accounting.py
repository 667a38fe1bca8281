"""Accounting of a network's parameters and multiply-accumulates before and after masking."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from mirl.sparsity.mask import Mask

FLOPS_PER_MAC = 2
FORWARD, BACKWARD = 1, 2
"""Passes through a network, in the cost of a forward one: backward are the gradients of activations and of weights."""


class Densities(NamedTuple):
    """Kept fractions, in [0, 1]."""

    prunable: float
    """Kept fraction of the elements that the mask covers."""
    all: float
    """Kept fraction of all trainable parameters; those outside the mask count as kept."""


@dataclass(frozen=True, kw_only=True)
class Macs:
    """Multiply-accumulates for one image, in 1e9."""

    dense_g: float
    kept_g: float


class Flops(NamedTuple):
    """Floating-point operations of a training."""

    kept: float
    """Operations that the mask leaves, if no zero were multiplied; training multiplies them all the same."""
    dense: float


def densities(mask: Mask, parameters: int) -> Densities:
    """Return both densities of a network with `parameters` trainable elements."""
    assert parameters >= mask.total > 0, f"{parameters} parameters cannot hold a mask of {mask.total}"
    return Densities(mask.density, (parameters - mask.total + mask.kept) / parameters)


def macs(network: nn.Module, mask: Mask, height: int, width: int) -> Macs:
    """Count the multiply-accumulates for one RGB image of `height` x `width` pixels (multiples of the network's own).

    Convolutions and matrix products count, as in torch. A masked layer keeps its share of weights; all
    else (attention products, the mixing of prompts) stays whole. Only shapes are run, so any size is quick.
    """
    dense, positions = _counted(network, mask, height, width)
    spared = sum(count * _masked(mask[name]) for name, count in positions.items())
    return Macs(dense_g=dense / 1e9, kept_g=(dense - spared) / 1e9)


def once_per_image(network: nn.Module, weights: Collection[str], multiple: int) -> set[str]:
    """Return those of `weights` that are multiplied as often for a large image as for a small one: on its statistics.

    `multiple`: what the height and width of an image are multiples of.
    """
    _, small = _counted(network, weights, multiple, multiple)
    _, large = _counted(network, weights, 2 * multiple, 2 * multiple)
    return {name for name, count in small.items() if large[name] == count}


def training_flops(work: Macs, samples: int, passes: float = FORWARD + BACKWARD) -> Flops:
    """Compute the operations of training on `samples` patches, where `work` is the forward pass of one patch.

    The usual convention: a sample costs three `passes`, a forward one and a backward one that counts twice, a
    multiply-accumulate two operations, and what is no convolution or matrix product (norms, activations, the optimiser)
    nothing.
    """
    each = passes * FLOPS_PER_MAC * 1e9 * samples
    return Flops(kept=each * work.kept_g, dense=each * work.dense_g)


def _masked(keep: Tensor) -> int:
    # Not `(~keep).sum()`: torch widens bool to int64 there, which takes seconds at 33 M weights.
    return keep.numel() - int(torch.count_nonzero(keep))


def _counted(
    network: nn.Module, weights: Collection[str], height: int, width: int
) -> tuple[int, dict[str, int]]:
    """Return (multiply-accumulates of the whole network for an image, how often each of the `weights` is multiplied)."""
    positions: dict[str, int] = {}
    hooks = [
        module.register_forward_hook(_record_positions(f"{name}.weight", positions))
        for name, module in network.named_modules()
        if f"{name}.weight" in weights
    ]
    try:
        return _dense_macs(network, height, width), positions
    finally:
        for hook in hooks:
            hook.remove()


def _dense_macs(network: nn.Module, height: int, width: int) -> int:
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    image_BCHW = torch.empty(1, 3, height, width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(network, shapes, (image_BCHW,))
    macs: int = counter.get_total_flops() // FLOPS_PER_MAC
    return macs


def _record_positions(name: str, positions: dict[str, int]) -> Any:
    """Return a forward hook that adds up how often each weight of `name` is multiplied."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            count = output.numel() // module.out_features
        elif isinstance(module, nn.ConvTranspose2d):
            count = inputs[0].numel() // module.in_channels
        elif isinstance(module, nn.Conv2d):
            count = output.numel() // module.out_channels
        else:
            raise TypeError(f"{name} belongs to a {type(module).__name__}, whose products nobody counts")
        positions[name] = positions.get(name, 0) + count

    return hook
