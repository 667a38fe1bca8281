"""Several sub-networks as one network, in which each layer computes every place by the sub-network of the patch there.

The features are those of one image, whichever sub-network has computed them. So no patch computes its neighbours again,
there are no seams, and a statistic of the whole image is one of the whole image (ours; ADR 22).

Dims: B batch, C channels, H height, W width.
"""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mirl.networks import Network
from mirl.networks.global_statistics import mean
from mirl.networks.nafnet import NafBlock
from mirl.restore.patches import TileLevels
from mirl.runtime.levels import Levels
from mirl.sparsity.accounting import once_per_image
from mirl.tickets.model import SparseModel


def subnetworks(model: SparseModel, masks: Sequence[str]) -> list[Network]:
    """Return the network of each of the masks; parameters that belong to no patch are those of the last mask.

    These are the weights of layers that run once for an image, on its statistics, and all parameters that are not the
    weight of a layer.
    """
    found = [model.alone(mask).built() for mask in masks]
    last = dict(found[-1].named_parameters())
    once = once_per_image(found[-1], model.mask, found[-1].multiple)
    for network in found[:-1]:
        for name, module in network.named_modules():
            for own in list(dict(module.named_parameters(recurse=False))):
                full = f"{name}.{own}" if name else own
                if own != "weight" or full in once:
                    module.register_parameter(own, last[full])
    return found


class ShownLevels(Levels):
    """Numbers of the sub-networks in the tiles that a thread works on."""

    def __init__(self) -> None:
        self._own = threading.local()

    @contextmanager
    def showing(self, levels: TileLevels) -> Iterator[None]:
        """Let this thread work on tiles with those numbers within the block."""
        self._own.levels = levels
        try:
            yield
        finally:
            self._own.levels = None

    @property
    def shown(self) -> TileLevels | None:
        """Numbers in the present tiles of this thread; None if it works on none."""
        shown: TileLevels | None = getattr(self._own, "levels", None)
        return shown

    def at(self, height: int, width: int) -> Tensor:
        assert self.shown, "the sub-networks of the tiles are not known"
        return self.shown.at(height, width)

    def side(self, height: int) -> int:
        assert self.shown, "the sub-networks of the tiles are not known"
        return self.shown.side(height)


class LevelLayer(nn.Module):
    """Layer of several sub-networks in torch: each computes all of the output, of which its own places are taken."""

    def __init__(self, layers: Sequence[nn.Module], levels: ShownLevels) -> None:
        super().__init__()
        self._layers, self._levels = nn.ModuleList(layers), levels

    def forward(self, *inputs: Tensor) -> Tensor:
        return _chosen(lambda number: self._layers[number](*inputs), len(self._layers), self._levels)


class LevelNafBlock(nn.Module):
    """NAFNet's block of several sub-networks, each of which gates all neighbours itself, also those of other places.

    The kernels of `mirl.runtime` do the same, for the border of a tile.
    """

    def __init__(self, blocks: Sequence[nn.Module], levels: ShownLevels) -> None:
        super().__init__()
        self._blocks, self._levels = nn.ModuleList(blocks), levels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        count = len(self._blocks)
        y_BCHW = _chosen(lambda number: self._block(number).gate_neighbours(x_BCHW), count, self._levels)
        mean_BC = self._block(0).mix_statistic(mean, y_BCHW)

        def mixed(number: int) -> Tensor:
            return self._block(number).mix_channels(x_BCHW, y_BCHW, mean_BC)

        return _chosen(mixed, count, self._levels)

    def _block(self, number: int) -> NafBlock:
        block = self._blocks[number]
        assert isinstance(block, NafBlock)
        return block


def _chosen(run: Callable[[int], Tensor], count: int, levels: ShownLevels) -> Tensor:
    """Return at each place the output of the sub-network there; `run` computes that of a number."""
    shown = levels.shown
    # If nothing is shown it is asked how much memory is needed: the most, where all sub-networks work.
    first, *others = range(count) if shown is None else shown.present
    y_BCHW = run(first)
    for number in others:
        level_B1HW = torch.zeros_like(y_BCHW[:, :1]) if shown is None else shown.at(*y_BCHW.shape[2:])
        y_BCHW = torch.where(level_B1HW == number, run(number), y_BCHW)
    return y_BCHW


def combined(layers: Sequence[nn.Module], levels: ShownLevels) -> nn.Module:
    """Combine the same layer of all sub-networks into one; if they are equal, that is the first."""
    first, *others = (layer.state_dict() for layer in layers)
    if all(torch.equal(tensor, other[name]) for other in others for name, tensor in first.items()):
        return layers[0]
    return LevelLayer(layers, levels)


def patchwork(networks: Sequence[nn.Module], levels: ShownLevels) -> nn.Module:
    """Combine the sub-networks into one network in torch, which shares their weights."""
    whole = copy.copy(networks[0])
    whole._modules = {
        name: _joined([each.get_submodule(name) for each in networks], levels)
        for name, _ in networks[0].named_children()
    }
    return whole


def _joined(modules: Sequence[nn.Module], levels: ShownLevels) -> nn.Module:
    if isinstance(modules[0], NafBlock):
        return LevelNafBlock(modules, levels)
    return patchwork(modules, levels) if list(modules[0].children()) else combined(modules, levels)
