"""Acceleration of a network on the CPU: its layers are replaced by layers that skip zeros, faster even without any."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mirl.networks.layers import TransformerBlock
from mirl.networks.nafnet import NafBlock
from mirl.runtime.convolution import SIZES, SparseConv
from mirl.runtime.naf import SparseNafBlock
from mirl.runtime.rows import DENSE
from mirl.runtime.thread_pool import ThreadPool
from mirl.runtime.transformer import SparseTransformerBlock

ACCELERATED: dict[type[nn.Module], Callable[[Any, ThreadPool], nn.Module]] = {
    TransformerBlock: SparseTransformerBlock,
    NafBlock: SparseNafBlock,
    nn.Conv2d: SparseConv,
}
"""Type of layer -> type of the layer that replaces it and skips zeros."""


def accelerate(network: nn.Module, threads: int) -> nn.Module:
    """Copy `network` into one that skips zeros and has the same result to 1e-4; float32 on the CPU, BCHW in and out.

    A layer without a kernel here stays torch's, and shares its weights with `network`. Give torch one thread while the
    copy runs: more threads of torch would busy-wait on the cores on which the kernels' threads work.
    """
    accelerated = copy.copy(network)
    _replace_layers(accelerated, ThreadPool(threads))
    return accelerated


def bytes_held(network: nn.Module) -> int:
    """Return the bytes that the kernels' forms of the weights take at most, for SIZES picture sizes."""
    weights = [layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    kept = [(int(torch.count_nonzero(weight)), weight.numel()) for weight in weights]
    return SIZES * sum(8 * some if some <= DENSE * whole else 4 * whole for some, whole in kept)


def _replace_layers(module: nn.Module, pool: ThreadPool) -> None:
    module._modules = dict(module._modules)  # the copy's own, so that the network keeps its layers
    for name, child in module.named_children():
        if type(child) not in ACCELERATED:
            module._modules[name] = copied = copy.copy(child)
            _replace_layers(copied, pool)
        elif _fits(child):
            module._modules[name] = ACCELERATED[type(child)](child, pool)


def _fits(layer: nn.Module) -> bool:
    """Return whether `layer` is a block, or a convolution that `SparseConv` supports."""
    if not isinstance(layer, nn.Conv2d):
        return True
    side = layer.kernel_size[0]
    is_known = layer.kernel_size in ((1, 1), (3, 3)) and layer.groups == 1
    return is_known and layer.stride == (1, 1) and layer.padding == (side // 2, side // 2)
