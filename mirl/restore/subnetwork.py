"""Sub-network of a model, ready to run.

Dimensions: B batch, C channels, H height, W width; h and w those of a tile.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mirl.networks import Network
from mirl.restore.global_context import GlobalContext, TileContext
from mirl.restore.memory import bytes_per_pixel
from mirl.restore.pad import pad
from mirl.restore.routers import Chosen
from mirl.restore.threads import outside, torch_threads
from mirl.restore.tile import spans


class Subnetwork:
    """Network that is ready to run, on a CPU with its zeros skipped if `skip_zeros`. Arguments as for `Restorer`."""

    def __init__(self, network: Network, threads: int | None, device: str, skip_zeros: bool) -> None:
        self.network = network.to(device).eval()
        self.multiple = network.multiple
        """Number of pixels of which the height and width of a tile are multiples."""
        self.scale = network.scale
        """Side of the restored image divided by the side of the image."""
        self.global_context = GlobalContext(self.network)
        # Now, while nobody restores: it puts other weights into the network for a moment.
        self._forward = self._in_torch(self.network)
        self.bytes_per_pixel = bytes_per_pixel(self._forward, self.multiple)
        """Memory that the network takes for each pixel of the image or tile that it works on."""
        self.held = 0
        """Bytes that the kernels hold."""
        self._threads, self._device = threads, device
        self.is_accelerated = skip_zeros and device == "cpu"
        if self.is_accelerated:
            from mirl.runtime.engine import bytes_held

            self._forward = self._in_kernels(self.network, threads or outside())
            self.held = bytes_held(self.network)
            self._threads = 1  # of torch: others would wait busily where the kernels' threads work

    def _in_torch(self, network: Network) -> nn.Module:
        """Return the module that computes in torch."""
        return network

    def _in_kernels(self, network: Network, threads: int) -> nn.Module:
        """Return the module that computes in the kernels of `mirl.runtime`."""
        # With a compiler, which an evaluation need not wait for.
        from mirl.runtime.engine import accelerate

        return accelerate(network, threads)

    @property
    def weight_bytes(self) -> int:
        """Size of the weights in bytes."""
        return sum(tensor.nbytes for tensor in self.network.state_dict().values())

    def at_work(self) -> AbstractContextManager[object]:
        """Return a context manager within which torch uses the number of threads that suits this sub-network."""
        return torch_threads(self._threads)

    def warm_up(self) -> None:
        """Run once on a black image, so that one-time compilation and loading do not count as restoring."""
        side = self.multiple
        (span,) = spans(side, side, side)
        context = TileContext(size=(side, side), positions=[(span, span)], known={}, found={})
        with torch.no_grad(), self.at_work():
            self.run_tiles(torch.zeros(1, 3, side, side), context)
        assert len(context.found or {}) == self.global_context.count, (
            "kernels leave out a statistic of the whole image"
        )

    @property
    def tile_multiple(self) -> int:
        """Multiple of pixels at which tiles start."""
        return self.multiple

    def restoring(self, choice: Chosen, size: tuple[int, int]) -> AbstractContextManager[object]:
        """Return a context manager within which an image of `size` (height, width) is restored as `choice` says."""
        return nullcontext()

    def run_any_size(self, image_BCHW: Tensor) -> Tensor:
        """Run a whole image through the network: pad, run, crop."""
        height, width = (side * self.scale for side in image_BCHW.shape[2:])
        return self.run(pad(image_BCHW, self.multiple))[..., :height, :width]

    def run_tiles(self, x_BChw: Tensor, context: TileContext) -> Tensor:
        """Run the network as `run` does, on tiles of the image that `context` describes."""
        with self.global_context.showing(context):
            return self.run(x_BChw)

    def run(self, x_BCHW: Tensor) -> Tensor:
        """Run the network on tiles; the result is float32, not clamped, and on the device of the tiles."""
        order = torch.contiguous_format if self.is_accelerated else torch.channels_last
        moved_BCHW = x_BCHW.to(self._device).contiguous(memory_format=order)
        restored_BCHW: Tensor = self._forward(moved_BCHW).to(x_BCHW.device)
        return restored_BCHW
