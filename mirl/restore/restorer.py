"""Restorer: runs a model on images of any size.

Dims: B batch, C channels, H height, W width; h and w those of a tile.
"""

import math
import threading
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mirl.config import UserError
from mirl.networks import Network, is_own
from mirl.restore.global_context import Statistics, TileContext, area, gather_statistics, passes
from mirl.restore.memory import least_memory, pixels_in
from mirl.restore.pad import round_up
from mirl.restore.patches import Cut, PatchLevels, part_of
from mirl.restore.photograph import MEMORY
from mirl.restore.routed import RoutedSubnetworks, RouterOfModel
from mirl.restore.routers import Choice, Chosen, EachPatch, OneMask, Request, chosen, usual, work_of
from mirl.restore.subnetwork import Subnetwork
from mirl.restore.tile import Span, TilePosition, Tiles, cut, smallest
from mirl.restore.tiled_image import TiledImage
from mirl.tickets.model import SparseModel

MIB = 2**20

Advance = Callable[[float], object]
"""Callback that takes the share of the work done since its last call; an exception that it raises ends the work."""


class Restorer:
    """Model that restores uint8 or uint16 HWC RGB images to the same dtype, at every size from 1x1 up.

    The restored image has the same shape, or `scale` times its height and width if the network enlarges. A network with
    several heads enlarges by the scale of the sub-network (`scale_for`).

    `threads` is the number of CPU threads during restoration; None is torch's number. `memory` is the limit in bytes on
    the memory of restoring, the image's own included; a larger image is restored in tiles. `device` is where the
    network runs; results return to the device of the images. With `skip_zeros`, the layers run in `mirl.runtime` on a
    CPU, which skips zero weights and gives the same result to 1e-4 of 1. Raises UserError if the model's weights do not
    fit its network.

    A network that is not mirl's always runs in torch, as its code may not work with replaced layers. Each sub-network
    of a model is made ready when it is first needed.
    """

    def __init__(
        self,
        model: SparseModel,
        *,
        threads: int | None = None,
        memory: int = MEMORY,
        device: str = "cpu",
        skip_zeros: bool = True,
    ) -> None:
        self._model, self._memory = model, memory
        self._threads, self._device = threads, device
        self._skip_zeros = skip_zeros and not is_own(model.network.name)
        self._ready: dict[str, Subnetwork] = {}
        self._making = threading.Lock()
        self._prepared(usual(model.routing, list(model.masks)))

    @property
    def _first(self) -> Subnetwork:
        """Sub-network that is ready from the beginning."""
        return next(iter(self._ready.values()))

    @property
    def network(self) -> Network:
        """Network of the only sub-network, or of the first."""
        return self._first.network

    @property
    def scale(self) -> int:
        """Side of a restored image divided by the side of the image; if that depends on the task, the largest."""
        return max(self._model.heads.values(), default=self._first.scale)

    def scale_for(self, task: str = "", work: float | None = None) -> int:
        """Return the side of an image restored for that task, divided by the side of the image.

        Raises UserError if the scale depends on the task, and the model has no sub-network for it.
        """
        heads = self._model.heads
        if len(set(heads.values())) < 2:
            return self.scale
        choice = self._choice(task, work)
        assert isinstance(choice, OneMask)
        return heads[choice.mask]

    @property
    def bytes_per_pixel(self) -> float:
        """Memory that a network takes for each pixel of the image or tile that it works on; of several the most."""
        return max(each.bytes_per_pixel for each in self._ready.values())

    def __call__(
        self,
        image_HWC: np.ndarray,
        advance: Advance = lambda share: None,
        task: str = "",
        work: float | None = None,
    ) -> np.ndarray:
        """Restore an image, in tiles if it is large; the result is clamped and rounded to the nearest level.

        `task` is the restoration task, for a model whose routing asks for it; `work` the share of the largest
        sub-network's work that may be done, for one whose routing has a choice. `advance` is called after each tile; an
        exception that it raises ends the work. Raises UserError if the image is not a uint8 or uint16 RGB image, the
        memory does not hold the smallest tile, or the model has no sub-network for the task or the work.
        """
        picture = TiledImage(image_HWC, self.scale_for(task, work))
        size = picture.height, picture.width
        choice, _ = self._chosen(self._choice(task, work), picture.tile, size)
        subnetwork = self._prepared(choice)
        pixels = self.pixels(*size, image_HWC.itemsize, subnetwork.scale)
        tiles = _cut(size, subnetwork, pixels)
        with torch.no_grad(), subnetwork.at_work(), subnetwork.restoring(choice, size):
            if len(tiles.positions()) == 1:
                out_BCHW = subnetwork.run(picture.tile(tiles.rows[0], tiles.columns[0]))
                height, width = picture.restored_HWC.shape[:2]
                picture.write(0, out_BCHW[..., :height, :width])
                advance(1.0)
            else:
                _restore_tiles(subnetwork, picture, tiles, pixels, advance)
        return picture.restored_HWC

    def run(self, image_BCHW: Tensor, task: str = "", work: float | None = None) -> Tensor:
        """Run the network on float32 images in [0, 1] of any size; the result has `scale` times their sides, not clamped.

        The images are never tiled, whatever the memory: published figures are measured on whole images. `task` and `work`
        are as in `__call__`; raises UserError if the model has no sub-network for them. If a router chooses for each
        patch, the batch is one image.
        """
        return self.measured(image_BCHW, task, work)[0]

    def measured(self, image_BCHW: Tensor, task: str = "", work: float | None = None) -> tuple[Tensor, float]:
        """Run the network as `run`; also return the work that was done, as a share of the largest sub-network's.

        The share is above 0, and, as the work of a router counts too, may be a little over 1. It is 1 for a model whose
        sub-networks do not differ in their work.
        """
        return self.restored_by(self._choice(task, work), image_BCHW)

    def restored_by(self, choice: Choice, image_BCHW: Tensor) -> tuple[Tensor, float]:
        """Run the network as `measured`, by a choice that was made elsewhere: one mask, or the level of each patch."""
        size = image_BCHW.shape[2], image_BCHW.shape[3]
        chosen, own = self._chosen(choice, part_of(image_BCHW), size)
        subnetwork = self._prepared(chosen)
        with torch.no_grad(), subnetwork.at_work(), subnetwork.restoring(chosen, size):
            return subnetwork.run_any_size(image_BCHW), work_of(self._model.routing, chosen, size) + own

    def levels(self, image_BCHW: Tensor, task: str = "", work: float | None = None) -> PatchLevels | None:
        """Return which sub-network restores each patch of one image; None if one restores all of it."""
        choice = self._choice(task, work)
        if not isinstance(choice, EachPatch):
            return None
        return self._router.levels(choice, part_of(image_BCHW), (image_BCHW.shape[2], image_BCHW.shape[3]))

    def refuse(self, task: str, work: float | None = None) -> None:
        """Raise UserError if there is no sub-network for that restoration task, or for that share of the work."""
        self._choice(task, work)

    def pixels(self, height: int, width: int, itemsize: int, scale: int = 0) -> int:
        """Compute how many pixels of a picture with levels of `itemsize` bytes fit into the memory at a time.

        `scale` is that of the restored picture; 0: the largest. Raises UserError if the memory does not hold the smallest
        tile.
        """
        scale = scale or self.scale
        size = self._padded(height, width)
        least = smallest(*size, self._first.multiple)
        found = pixels_in(self._memory - self._held, self.bytes_per_pixel, size, itemsize, scale)
        if found < least:
            raise UserError(
                f"{self._memory / MIB:.1f} MiB of memory is too little for this network and image; "
                f"give it at least {math.ceil(self.memory_for(least, (height, width), itemsize, scale) / MIB)} MiB"
            )
        return found

    def memory_for(self, pixels: int, size: tuple[int, int], itemsize: int, scale: int = 0) -> int:
        """Compute the memory in bytes for which `pixels` of a picture of `size` (height, width) fit at a time."""
        padded = self._padded(*size)
        return self._held + math.ceil(
            least_memory(pixels, self.bytes_per_pixel, padded, itemsize, scale or self.scale)
        )

    @property
    def _held(self) -> int:
        """Bytes that stay occupied: by kernels, and by the weights of all sub-networks but the first."""
        first, *others = self._ready.values()
        return first.held + sum(each.held + each.weight_bytes for each in others)

    @cached_property
    def _router(self) -> RouterOfModel:
        is_accelerated = self._skip_zeros and self._device == "cpu"
        return RouterOfModel(self._model, 1 if is_accelerated else self._threads, self._device)

    def _chosen(self, choice: Choice, cut: Cut, size: tuple[int, int]) -> tuple[Chosen, float]:
        """Return what restores an image of `size` (height, width), and the work that the router took to choose it."""
        if not isinstance(choice, EachPatch):
            return choice, 0.0
        return self._router.chosen(choice, cut, size), self._router.work

    def _choice(self, task: str, work: float | None) -> Choice:
        return chosen(self._model.routing, list(self._model.masks), Request(task=task, work=work))

    def _prepared(self, choice: Choice) -> Subnetwork:
        """Return the sub-network, or the routed ones, of that choice, ready to run; made when first needed."""
        name = choice.mask if isinstance(choice, OneMask) else ""
        if isinstance(choice, EachPatch) and choice.routing.unit == "image":
            name = choice.routing.masks([])[
                -1
            ]  # the one that takes the most memory; the others when they are chosen
        if name in self._ready:
            return self._ready[name]
        with self._making:
            if name not in self._ready:
                made, before = self._made(name), self._ready
                self._ready = {**before, name: made}  # another thread may be walking over the old one
                try:
                    self._try_out(made)
                except BaseException:
                    self._ready = before  # its memory is free again, for what is restored without it
                    raise
            return self._ready[name]

    def _try_out(self, made: Subnetwork) -> None:
        """Run a new sub-network once, if it compiles anything. Raises UserError if the memory does not hold it."""
        if made.is_accelerated:
            side = made.multiple
            self.pixels(side, side, itemsize=1)  # the smallest picture takes as much
            made.warm_up()

    def _made(self, mask: str) -> Subnetwork:
        """Make the sub-network of that mask, or, if the name is empty, all of them with their router."""
        if not mask:
            return RoutedSubnetworks(self._model, self._threads, self._device, self._skip_zeros)
        network = self._model.alone(mask).built()
        return Subnetwork(network, self._threads, self._device, self._skip_zeros)

    def _padded(self, height: int, width: int) -> tuple[int, int]:
        multiple = self._first.multiple
        return round_up(height, multiple), round_up(width, multiple)


def _cut(size: tuple[int, int], subnetwork: Subnetwork, pixels: int) -> Tiles:
    """Cut an image of `size`: in one piece if it fits, else in tiles that start where the sub-network wants them to."""
    pieces = cut(*size, subnetwork.multiple, pixels)
    fits = len(pieces.positions()) == 1 or pixels < smallest(*size, subnetwork.tile_multiple)
    return pieces if fits else cut(*size, subnetwork.tile_multiple, pixels).ending_at(*pieces.size)


def _restore_tiles(
    subnetwork: Subnetwork, picture: TiledImage, tiles: Tiles, pixels: int, advance: Advance
) -> None:
    """Restore a picture in tiles, after gathering the statistics of the whole image if the network takes any."""
    all_passes = passes(tiles, subnetwork.multiple, pixels) if subnetwork.global_context.count else []
    positions = [position for batches in all_passes for batch in batches for position in batch]
    tiled = sum(map(area, tiles.positions()))
    work, shares = sum(map(area, positions)) + tiled, list[float]()

    def show(positions: Sequence[TilePosition], known: Statistics, found: Statistics | None) -> Tensor:
        tiles_BChw = torch.cat([picture.tile(*position) for position in positions])
        context = TileContext(size=tiles.size, positions=positions, known=known, found=found)
        out_BChw = subnetwork.run_tiles(tiles_BChw, context)
        shares.append(sum(map(area, positions)) / work)
        advance(shares[-1])
        return out_BChw

    known = gather_statistics(all_passes, show)
    advance(max(0.0, 1 - sum(shares) - tiled / work))  # if the statistics were steady sooner

    def run(row: Span, column: Span) -> Tensor:
        return show([(row, column)], known, None)

    height, width = picture.restored_HWC.shape[:2]
    for top, part_BChW in tiles.bands(run, (height, width), subnetwork.scale):
        picture.write(top, part_BChW)
