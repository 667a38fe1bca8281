"""A network accelerated on the CPU: its layers are replaced by ours, which skip zeros and are faster also without any."""

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
"""Kind of layer -> what makes one of it that skips zeros."""


def accelerate(network: nn.Module, threads: int) -> nn.Module:
    """A copy of `network` with the same result to 1e-4 that skips zeros; float32 on the CPU, BCHW in and out.

    What has no kernel here stays torch's, and its weights are shared with `network`. Give torch one thread while it runs:
    torch's others wait busily where those of the kernels work.
    """
    accelerated = copy.copy(network)
    _replace_layers(accelerated, ThreadPool(threads))
    return accelerated


def bytes_held(network: nn.Module) -> int:
    """What the kernels' forms of the weights take at most, for the picture sizes that are kept."""
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
    """Whether it is a block, or a convolution of a form that `SparseConv` knows."""
    if not isinstance(layer, nn.Conv2d):
        return True
    side = layer.kernel_size[0]
    is_known = layer.kernel_size in ((1, 1), (3, 3)) and layer.groups == 1
    return is_known and layer.stride == (1, 1) and layer.padding == (side // 2, side // 2)
