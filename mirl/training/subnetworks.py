"""Network that is being trained, as an objective sees it.

Dimensions in names: B images, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mirl.objectives import Subnetworks
from mirl.sparsity.masks import ONE, Masks


class TrainedSubnetworks(Subnetworks):
    """Sub-networks of the network in training, each run under its mask in the precision of the training."""

    def __init__(self, network: nn.Module, masks: Masks, autocast: torch.autocast, compiled: bool) -> None:
        """Take the network on its device, with every weight that no mask keeps at zero."""
        self.network = network
        self._autocast = autocast
        self._whole = torch.compile(network) if compiled else network
        device = next(network.parameters()).device
        self._keeps = {
            mask: {} if own == masks.union else {name: keep.to(device) for name, keep in own.items()}
            for mask, own in masks.items()
        }

    def __call__(self, image_BCHW: Tensor, mask: str = ONE) -> Tensor:
        keeps = self._keeps[mask]
        with self._autocast:
            if not keeps:  # the weights are masked already
                whole: Tensor = self._whole(image_BCHW)
                return whole.float()
            weights = {name: self.network.get_parameter(name) * keep for name, keep in keeps.items()}
            found: Tensor = functional_call(self.network, weights, (image_BCHW,))
            return found.float()
