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
from mirl.restore.routers import Choice, EachPatch, OneMask
from mirl.restore.subnetwork import Subnetwork
from mirl.restore.tile import Span, TilePosition, whole
from mirl.sparsity.accounting import macs
from mirl.sparsity.mask import Mask
from mirl.tickets.model import SparseModel
from mirl.tickets.routing import ByDifficulty


class RoutedSubnetworks(Subnetwork):
    """Network in which each patch of an image goes through the sub-network that the model's router chooses for it."""

    def __init__(self, model: SparseModel, threads: int | None, device: str, skip_zeros: bool) -> None:
        """Take the arguments of `Restorer`. Raises UserError if the model's weights do not fit its network."""
        assert isinstance(model.routing, ByDifficulty)
        masks = model.routing.masks(list(model.masks))
        self._routing = model.routing
        self._networks = [network.to(device).eval() for network in subnetworks(model, masks)]
        self._router = router_with(model.network, model.state).to(device)
        self._levels, self._own = ShownLevels(), threading.local()
        side = round_up(model.routing.patch, self._networks[0].multiple)
        largest = macs(self._networks[-1], model.masks[masks[-1]], side, side).kept_g
        self._router_work = macs(self._router, Mask.full({}), side, side).dense_g / largest
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
    def deciding(self, choice: Choice, cut: Cut, size: tuple[int, int]) -> Iterator[PatchLevels | None]:
        assert not isinstance(choice, OneMask)
        self._own.levels = self.levels(choice, cut, size)
        try:
            yield self._own.levels
        finally:
            self._own.levels = None

    def levels(self, choice: EachPatch | PatchLevels, cut: Cut, size: tuple[int, int]) -> PatchLevels:
        """Let the router choose for every patch of an image of `size` (height, width), unless somebody else has."""
        if isinstance(choice, PatchLevels):
            assert choice.covers(size, self._routing.patch), "the levels are those of another grid of patches"
            return choice

        def moved(rows: Span, columns: Span) -> Tensor:
            return cut(rows, columns).to(self._device)

        with torch.no_grad():
            return PatchLevels.routed(self._router, moved, size, choice.routing, choice.price)

    def work(self, choice: Choice, levels: PatchLevels, size: tuple[int, int]) -> float:
        own = self._router_work if isinstance(choice, EachPatch) else 0.0
        return levels.work(size, self._routing.works) + own

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
