"""A network made ready for the CPU: layers that run faster when they skip zeros are exchanged for such."""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from mirl.networks.layers import TransformerBlock
from mirl.networks.nafnet import NafBlock
from mirl.runtime.convolution import SparseConv
from mirl.runtime.crew import Crew
from mirl.runtime.naf import SparseNafBlock
from mirl.runtime.transformer import SparseTransformerBlock

QUICK: dict[type[nn.Module], Callable[[Any, Crew], nn.Module]] = {
    TransformerBlock: SparseTransformerBlock,
    NafBlock: SparseNafBlock,
    nn.Conv2d: SparseConv,
}
"""Kind of layer -> what makes one of it that skips zeros."""
CROSSOVER = {TransformerBlock: 0.5, NafBlock: 0.5, nn.Conv2d: 0.3}
"""Of each kind of layer the share of weights other than 0 above which torch's dense product is the faster one."""
FINE = 96
"""Blocks of up to so many channels are faster at any share: what counts there is that memory is passed through once."""


def quicken(network: nn.Module, threads: int, crossover: float | None = None) -> nn.Module:
    """A copy of `network` with the same result to 1e-4 that skips zeros; float32 on the CPU, BCHW in and out.

    Layers with a larger share of weights than their `CROSSOVER` (or `crossover`, for all) stay as they are. The copy
    shares the weights of what stays.
    """
    quick = copy.copy(network)
    _exchange(quick, Crew(threads), crossover)
    return quick


def _exchange(module: nn.Module, crew: Crew, crossover: float | None) -> None:
    module._modules = dict(module._modules)  # the copy's own, so that the network keeps its layers
    for name, child in module.named_children():
        if type(child) not in QUICK:
            module._modules[name] = copied = copy.copy(child)
            _exchange(copied, crew, crossover)
        elif _fits(child) and _pays(child, crossover):
            module._modules[name] = QUICK[type(child)](child, crew)


def _pays(layer: nn.Module, crossover: float | None) -> bool:
    if crossover is not None:
        return share(layer) <= crossover
    is_fine = isinstance(layer, TransformerBlock) and len(layer.feed_norm.weight) <= FINE
    return is_fine or share(layer) <= CROSSOVER[type(layer)]


def share(layer: nn.Module) -> float:
    """Of the weights of all convolutions in `layer`, those that are not 0."""
    weights = [conv.weight for conv in layer.modules() if isinstance(conv, nn.Conv2d)]
    return sum(int((weight != 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def _fits(layer: nn.Module) -> bool:
    """Whether it is a block, or a convolution of a form that `SparseConv` knows."""
    if not isinstance(layer, nn.Conv2d):
        return True
    side = layer.kernel_size[0]
    is_known = layer.kernel_size in ((1, 1), (3, 3)) and layer.groups == 1
    return is_known and layer.stride == (1, 1) and layer.padding == (side // 2, side // 2)
