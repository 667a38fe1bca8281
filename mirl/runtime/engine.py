"""Acceleration of a network on the CPU: its layers are replaced by layers that skip zeros, faster even without any."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from mirl.networks.layers import TransformerBlock, Upsampling
from mirl.networks.nafnet import NafBlock
from mirl.runtime.convolution import SIZES, SparseConv
from mirl.runtime.levels import ONE_LEVEL, Levels
from mirl.runtime.naf import SparseNafBlock
from mirl.runtime.rows import DENSE
from mirl.runtime.thread_pool import ThreadPool
from mirl.runtime.transformer import SparseTransformerBlock

ACCELERATED: dict[type[nn.Module], Callable[[Any, ThreadPool, Levels], nn.Module]] = {
    NafBlock: SparseNafBlock,
    nn.Conv2d: SparseConv,
    Upsampling: SparseConv,
}
"""Type of layer -> function that makes one that skips zeros, of the same layer in each of the sub-networks."""
Combine = Callable[[Sequence[nn.Module]], nn.Module]
"""Makes one layer of the same layer in each of several sub-networks."""


def accelerate(network: nn.Module, threads: int) -> nn.Module:
    """Make a copy of `network` with the same result to 1e-4 that skips zeros; float32 on the CPU, BCHW in and out.

    Layers without a kernel here stay torch's, and their weights are shared with `network`. Give torch one thread while
    the copy runs: torch's other threads would wait busily on the cores of the kernels' threads.
    """
    return accelerate_together([network], threads, ONE_LEVEL, lambda layers: layers[0])


def accelerate_together(
    networks: Sequence[nn.Module], threads: int, levels: Levels, combine: Combine
) -> nn.Module:
    """Make one network of several sub-networks, which differ in their weights: at each place works that of `levels`.

    Layers without a kernel here are made by `combine`. Otherwise as `accelerate`.
    """
    accelerated = copy.copy(networks[0])
    _replace_layers(accelerated, networks, _Making(ThreadPool(threads), levels, combine))
    return accelerated


def bytes_held(network: nn.Module) -> int:
    """Return the largest size in bytes of the kernels' forms of the weights, for all picture sizes that are kept."""
    weights = [layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    kept = [(int(torch.count_nonzero(weight)), weight.numel()) for weight in weights]
    return SIZES * sum(8 * some if some <= DENSE * whole else 5 * whole for some, whole in kept)


class _Making(NamedTuple):
    """What layers are made with."""

    pool: ThreadPool
    levels: Levels
    combine: Combine


def _replace_layers(module: nn.Module, same: Sequence[nn.Module], making: _Making) -> None:
    """Replace the layers of `module`, a copy, by those made of the layers of `same`, the module in each sub-network."""
    module._modules = dict(module._modules)  # the copy's own, so that the network keeps its layers
    for name, child in module.named_children():
        children = [each.get_submodule(name) for each in same]
        kind = type(child)
        if isinstance(child, TransformerBlock) and len(children) == 1:
            module._modules[name] = SparseTransformerBlock(child, making.pool)
        elif kind in ACCELERATED and _fits(child):
            module._modules[name] = ACCELERATED[kind](children, making.pool, making.levels)
        elif list(child.children()) or not list(child.parameters()):
            module._modules[name] = copied = copy.copy(child)
            _replace_layers(copied, children, making)
        else:
            module._modules[name] = making.combine(children)


def _fits(layer: nn.Module) -> bool:
    """Return whether the layer is a block, or a convolution of a form that `SparseConv` supports."""
    if not isinstance(layer, nn.Conv2d):
        return True
    side = layer.kernel_size[0]
    if layer.groups > 1 or layer.dilation != (1, 1) or layer.kernel_size != (side, side):
        return False
    if layer.stride == layer.kernel_size and side > 1:
        return layer.padding == (0, 0)
    return side in (1, 3) and layer.stride == (1, 1) and layer.padding == (side // 2, side // 2)
