"""Sub-networks of a model that routes by difficulty, ready to run together.

Dims: B batch, C channels, H height, W width; h and w those of a tile.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from mirl.networks import Network, router_with
from mirl.restore.global_context import TileContext
from mirl.restore.pad import round_up
from mirl.restore.patches import Cut, PatchLevels, TileLevels
from mirl.restore.patchwork import ShownLevels, combined, patchwork, subnetworks
from mirl.restore.routers import Chosen, EachPatch, OneMask
from mirl.restore.subnetwork import Subnetwork
from mirl.restore.threads import torch_threads
from mirl.restore.tile import Span, TilePosition, whole
from mirl.sparsity.accounting import macs
from mirl.sparsity.mask import Mask
from mirl.tickets.model import SparseModel
from mirl.tickets.routing import ByDifficulty


class RouterOfModel:
    """Router of a model, which chooses the sub-networks of an image's patches, or the one of the whole image."""

    def __init__(self, model: SparseModel, threads: int | None, device: str) -> None:
        """Take the arguments of `Restorer`; `threads` are torch's."""
        assert isinstance(model.routing, ByDifficulty)
        self._router, self._threads = router_with(model.network, model.state).to(device), threads
        self._masks, self._device = model.routing.masks(list(model.masks)), device
        network = model.alone(self._masks[-1]).outline()
        side = round_up(model.routing.patch, network.multiple)
        largest = macs(network, model.masks[self._masks[-1]], side, side).kept_g
        self.work = macs(self._router, Mask.full({}), side, side).dense_g / largest
        """Work of the router itself, as a share of the largest sub-network's."""

    def levels(self, choice: EachPatch, cut: Cut, size: tuple[int, int]) -> PatchLevels:
        """Choose for every patch of an image of `size` (height, width), of which `cut` gives parts."""

        def moved(rows: Span, columns: Span) -> Tensor:
            return cut(rows, columns).to(self._device)

        with torch.no_grad(), torch_threads(self._threads):
            return PatchLevels.routed(self._router, moved, size, choice.routing, choice.price)

    def chosen(self, choice: EachPatch, cut: Cut, size: tuple[int, int]) -> Chosen:
        """Choose as `levels`; if the routing's unit is the image, return its one sub-network."""
        levels = self.levels(choice, cut, size)
        if choice.routing.unit == "patch":
            return levels
        return OneMask(self._masks[int(levels.level_RQ[0, 0])])


class RoutedSubnetworks(Subnetwork):
    """Network in which each patch of an image goes through the sub-network that was chosen for it."""

    def __init__(self, model: SparseModel, threads: int | None, device: str, skip_zeros: bool) -> None:
        """Take the arguments of `Restorer`. Raises UserError if the model's weights do not fit its network."""
        assert isinstance(model.routing, ByDifficulty)
        masks = model.routing.masks(list(model.masks))
        self._routing = model.routing
        self._networks = [network.to(device).eval() for network in subnetworks(model, masks)]
        self._levels, self._own = ShownLevels(), threading.local()
        super().__init__(self._networks[0], threads, device, skip_zeros)
        if self.is_accelerated:
            from mirl.runtime.engine import bytes_held

            self.held = sum(map(bytes_held, self._networks))

    @property
    def tile_multiple(self) -> int:
        """Multiple of pixels at which tiles start: where patches do, as far as the network allows."""
        return math.lcm(self.multiple, self._routing.patch)

    @property
    def weight_bytes(self) -> int:
        return sum(tensor.nbytes for network in self._networks for tensor in network.state_dict().values())

    @contextmanager
    def restoring(self, choice: Chosen, size: tuple[int, int]) -> Iterator[None]:
        assert isinstance(choice, PatchLevels)
        assert choice.covers(size, self._routing.patch), "the levels are those of another grid of patches"
        self._own.levels = choice
        try:
            yield
        finally:
            self._own.levels = None

    def run(self, x_BCHW: Tensor) -> Tensor:
        height, width = x_BCHW.shape[2:]
        return self._run(x_BCHW, [(whole(height), whole(width))])

    def run_tiles(self, x_BChw: Tensor, context: TileContext) -> Tensor:
        with self.global_context.showing(context):
            return self._run(x_BChw, context.positions)

    def warm_up(self) -> None:
        levels = PatchLevels(torch.zeros(1, 1, dtype=torch.int64), self._routing.patch)
        self._own.levels = levels
        super().warm_up()
        self._own.levels = None

    def _run(self, x_BChw: Tensor, positions: Sequence[TilePosition]) -> Tensor:
        levels: PatchLevels = self._own.levels
        with self._levels.showing(TileLevels(levels, positions, self._device)):
            return super().run(x_BChw)

    def _in_torch(self, network: Network) -> nn.Module:
        return patchwork(self._networks, self._levels)

    def _in_kernels(self, network: Network, threads: int) -> nn.Module:
        # With a compiler, which an evaluation need not wait for.
        from mirl.runtime.engine import accelerate_together

        combine = partial(combined, levels=self._levels)
        return accelerate_together(self._networks, threads, self._levels, combine)
