"""Network as one module that takes images of any size: the module that an export holds.

Dims: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn

from mirl.networks import Network
from mirl.restore.pad import pad


class AnySize(nn.Module):
    """Module that pads, runs, crops and clamps as `Restorer` does; float32 BCHW in [0, 1] in and out.

    The output has the shape of the input, or the network's `scale` times its height and width.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_BCHW: Tensor) -> Tensor:
        height, width = image_BCHW.shape[2:]
        y_BCHW: Tensor = self.network(pad(image_BCHW, self.network.multiple))
        # Not y_BCHW[..., :height, :width]: a slice makes torch.export ask whether anything was padded at all.
        sides = (height * self.network.scale, width * self.network.scale)
        rows, columns = (torch.arange(size, device=y_BCHW.device) for size in sides)
        return y_BCHW.index_select(2, rows).index_select(3, columns).clamp(0, 1)
