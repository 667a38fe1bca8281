"""A ticket as something that restores images of any size.

Dims: B batch, C channels, H height, W width.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from mirl.config import UserError
from mirl.networks import NetworkSection, build
from mirl.restore.memory import bytes_per_pixel
from mirl.restore.pad import pad
from mirl.restore.tile import smallest, tiler
from mirl.tickets.ticket import Ticket

MIB = 2**20
MEMORY = 1024 * MIB
"""Bytes that the network may take beside its weights, unless told otherwise."""


class Restorer:
    """uint8 HWC RGB in, the same shape out, for every network and every size from 1x1 up.

    `threads`: of the CPU while it restores; None leaves torch's number. `memory`: bytes that the network may
    take beside its weights; a larger image is restored in tiles. The image takes 18 bytes a pixel more.
    `device`: where the network runs; images come from and go back to where they were. `skip_zeros`: whether on a
    CPU layers that are faster so run in `mirl.runtime`, without their zeros; the same result to 1e-4 of 1.
    UserError where the ticket's weights do not fit the network that it names.
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
        self.network = build(NetworkSection.read(ticket.network, "the ticket's network"))
        try:
            self.network.load_state_dict(ticket.state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"the ticket's weights do not fit its network ({reason}); make the ticket again"
            ) from None
        self.network.to(device).eval()
        self._forward: nn.Module = self.network
        if skip_zeros and device == "cpu":
            from mirl.runtime.engine import quicken  # with a compiler, which an evaluation need not wait for

            self._forward = quicken(self.network, threads or torch.get_num_threads())
        self._threads = threads
        self._memory = memory
        self._device = device

    def __call__(self, image_HWC: np.ndarray) -> np.ndarray:
        """The restored image: clamped, rounded to the nearest of 256 levels; tiled where it is large.

        UserError where it is no uint8 RGB image, or the memory does not hold the smallest tile.
        """
        _refuse_other(image_HWC)
        height, width = image_HWC.shape[:2]
        tiled = tiler(height, width, self.network.multiple, self._pixels(height, width))
        # Pillow's pixels are read-only, which torch warns of; only they are copied.
        writable_HWC = np.require(image_HWC, requirements=["C", "W"])
        image_BCHW = torch.from_numpy(writable_HWC).permute(2, 0, 1)[None]
        with torch.no_grad(), _threads(self._threads):
            # Only one tile at a time is widened to float.
            out_BCHW = tiled(lambda tile_BCHW: self._pass(tile_BCHW.float().div_(255)), image_BCHW)
            levels_BCHW = out_BCHW.mul_(255).round_().clamp_(0, 255).to(torch.uint8)
        return np.ascontiguousarray(levels_BCHW[0].permute(1, 2, 0).numpy())

    def run(self, image_BCHW: Tensor) -> Tensor:
        """What the network says, not clamped: float32 in [0, 1] of any size to the same shape.

        Never tiled, whatever the memory: published figures are measured on whole images.
        """
        with torch.no_grad(), _threads(self._threads):
            return self._pass(image_BCHW)

    @cached_property
    def bytes_per_pixel(self) -> float:
        """Memory that the network takes for each pixel of the image or tile that it works on."""
        return bytes_per_pixel(self.network, self.network.multiple)

    def _pixels(self, height: int, width: int) -> int:
        """How many pixels fit into the memory at a time; UserError where that is not even one tile."""
        least = smallest(height, width, self.network.multiple)
        pixels = int(self._memory / self.bytes_per_pixel)
        if pixels < least:
            raise UserError(
                f"{self._memory / MIB:.1f} MiB of memory is too little for this network; "
                f"give it at least {math.ceil(least * self.bytes_per_pixel / MIB)} MiB"
            )
        return pixels

    def _pass(self, tile_BCHW: Tensor) -> Tensor:
        """One tile through the network: padded, run, cropped."""
        height, width = tile_BCHW.shape[2:]
        padded_BCHW = pad(tile_BCHW.to(self._device), self.network.multiple)
        out_BCHW = self._forward(padded_BCHW.contiguous(memory_format=torch.channels_last))
        return out_BCHW[..., :height, :width].to(tile_BCHW.device)


def _refuse_other(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f"the image is {image.dtype} of shape {image.shape}; expected uint8, height x width x 3"
        )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Torch works with `count` CPU threads inside, with as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
