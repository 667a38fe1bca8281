"""A ticket as something that restores images of any size.

Dims: B batch, C channels, H height, W width; h and w those of a tile.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mirl.config import UserError
from mirl.restore.global_context import (
    GlobalContext,
    Statistics,
    TileContext,
    area,
    gather_statistics,
    passes,
)
from mirl.restore.memory import bytes_per_pixel, least_memory, pixels_in
from mirl.restore.pad import pad, round_up
from mirl.restore.photograph import MEMORY
from mirl.restore.threads import outside, torch_threads
from mirl.restore.tile import Span, TilePosition, Tiles, cut, smallest, spans
from mirl.restore.tiled_image import TiledImage
from mirl.tickets.ticket import Ticket

MIB = 2**20

Advance = Callable[[float], object]
"""Is told which share of the work has been done since it was told last; it raises an exception to end the work."""


class Restorer:
    """uint8 or uint16 HWC RGB in, the same out, for every network and every size from 1x1 up.

    `threads`: of the CPU while it restores; None is torch's number. `memory`: bytes that restoring may take, the
    image's own included; a larger image is restored in tiles. `device`: where the network runs; images come from and go
    back to where they were. `skip_zeros`: whether on a CPU the layers run in `mirl.runtime`, without their zeros;
    the same result to 1e-4 of 1. UserError where the ticket's weights do not fit the network that it names.
    """

    def __init__(
        self,
        ticket: Ticket,
        *,
        threads: int | None = None,
        memory: int = MEMORY,
        device: str = "cpu",
        skip_zeros: bool = True,
    ) -> None:
        self.network = ticket.built()
        self.network.to(device).eval()
        self._global_context = GlobalContext(self.network)
        self._threads = threads
        self._memory = memory
        self._held = 0
        """Bytes of it that the kernels keep."""
        self._device = device
        # Now, while nobody restores: it puts other weights into the network for a moment.
        self.bytes_per_pixel = bytes_per_pixel(self.network, self.network.multiple)
        """Memory that the network takes for each pixel of the image or tile that it works on."""
        self._forward: nn.Module = self.network
        if skip_zeros and device == "cpu":
            # With a compiler, which an evaluation need not wait for.
            from mirl.runtime.engine import accelerate, bytes_held

            self._forward = accelerate(self.network, threads or outside())
            self._held = bytes_held(self.network)
            self._threads = 1  # of torch: others would wait busily where the kernels' threads work
            self._warm_up()

    def __call__(self, image_HWC: np.ndarray, advance: Advance = lambda share: None) -> np.ndarray:
        """The restored image: clamped, rounded to the nearest of its levels; tiled where it is large.

        `advance` is called after each tile; what it raises ends the work. UserError where it is no uint8 or uint16 RGB
        image, or the memory does not hold the smallest tile.
        """
        picture = TiledImage(image_HWC)
        pixels = self.pixels(picture.height, picture.width, image_HWC.itemsize)
        tiles = cut(picture.height, picture.width, self.network.multiple, pixels)
        with torch.no_grad(), torch_threads(self._threads):
            if len(tiles.positions()) == 1:
                out_BCHW = self._run(picture.tile(tiles.rows[0], tiles.columns[0]))
                picture.write(0, out_BCHW[..., : picture.height, : picture.width])
                advance(1.0)
            else:
                self._restore_tiles(picture, tiles, pixels, advance)
        return picture.restored_HWC

    def run(self, image_BCHW: Tensor) -> Tensor:
        """What the network says, not clamped: float32 in [0, 1] of any size to the same shape.

        Never tiled, whatever the memory: published figures are measured on whole images.
        """
        with torch.no_grad(), torch_threads(self._threads):
            return self._pass(image_BCHW)

    def pixels(self, height: int, width: int, itemsize: int) -> int:
        """How many pixels of a picture with levels of `itemsize` bytes fit into the memory at a time.

        UserError where that is not even one tile.
        """
        size = self._padded(height, width)
        least = smallest(*size, self.network.multiple)
        found = pixels_in(self._memory - self._held, self.bytes_per_pixel, size, itemsize)
        if found < least:
            raise UserError(
                f"{self._memory / MIB:.1f} MiB of memory is too little for this network and image; "
                f"give it at least {math.ceil(self.memory_for(least, (height, width), itemsize) / MIB)} MiB"
            )
        return found

    def memory_for(self, pixels: int, size: tuple[int, int], itemsize: int) -> int:
        """Bytes with which at least `pixels` of a picture of (height, width) fit at a time."""
        padded = self._padded(*size)
        return self._held + math.ceil(least_memory(pixels, self.bytes_per_pixel, padded, itemsize))

    def _padded(self, height: int, width: int) -> tuple[int, int]:
        return round_up(height, self.network.multiple), round_up(width, self.network.multiple)

    def _restore_tiles(self, picture: TiledImage, tiles: Tiles, pixels: int, advance: Advance) -> None:
        """Gathers the statistics of the whole image first, if the network takes any."""
        all_passes = passes(tiles, self.network.multiple, pixels) if self._global_context.count else []
        positions = [position for batches in all_passes for batch in batches for position in batch]
        tiled = sum(map(area, tiles.positions()))
        work, shares = sum(map(area, positions)) + tiled, list[float]()

        def show(positions: Sequence[TilePosition], known: Statistics, found: Statistics | None) -> Tensor:
            tiles_BChw = torch.cat([picture.tile(*position) for position in positions])
            with self._global_context.showing(
                TileContext(size=tiles.size, positions=positions, known=known, found=found)
            ):
                out_BChw = self._run(tiles_BChw)
            shares.append(sum(map(area, positions)) / work)
            advance(shares[-1])
            return out_BChw

        known = gather_statistics(all_passes, show)
        advance(max(0.0, 1 - sum(shares) - tiled / work))  # if the statistics were steady sooner

        def run(row: Span, column: Span) -> Tensor:
            return show([(row, column)], known, None)

        for top, part_BChW in tiles.bands(run, (picture.height, picture.width)):
            picture.write(top, part_BChW)

    def _warm_up(self) -> None:
        """What is compiled or loaded once is so now: it is no part of what restoring takes."""
        side = self.network.multiple
        self.pixels(side, side, itemsize=1)  # the smallest picture takes as much
        (span,) = spans(side, side, side)
        context = TileContext(size=(side, side), positions=[(span, span)], known={}, found={})
        with torch.no_grad(), torch_threads(self._threads), self._global_context.showing(context):
            self._run(torch.zeros(1, 3, side, side))
        assert len(context.found or {}) == self._global_context.count, (
            "kernels leave out a statistic of the whole image"
        )

    def _pass(self, image_BCHW: Tensor) -> Tensor:
        """A whole image through the network: padded, run, cropped."""
        height, width = image_BCHW.shape[2:]
        return self._run(pad(image_BCHW, self.network.multiple))[..., :height, :width]

    def _run(self, x_BCHW: Tensor) -> Tensor:
        moved_BCHW = x_BCHW.to(self._device).contiguous(memory_format=torch.channels_last)
        return self._forward(moved_BCHW).to(x_BCHW.device)
