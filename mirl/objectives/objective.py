"""The contract of an objective. Dimensions in names: B images, C channels, H height, W width."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

from torch import Tensor, nn

from mirl.data.batches import Batch
from mirl.sparsity.masks import ONE


class Subnetworks(Protocol):
    """The network that is being trained, as any of its sub-networks."""

    network: nn.Module
    """The whole of it: a router or a head is a submodule."""

    def __call__(self, image_BCHW: Tensor, mask: str = ONE) -> Tensor:
        """What the sub-network of that mask makes of degraded images: float32 of the same shape, not clamped."""
        ...


class Objective(Protocol):
    """Immutable and made of plain values, so that every process of a training can be given it."""

    needs_sums: ClassVar[bool] = False
    """Whether `terms` has to be told the `sums` over the whole batch."""

    def sums(self, subnetworks: Subnetworks, piece: Batch) -> Mapping[str, Tensor]:
        """Sums over the samples in `piece`, by name and without a gradient; the same names for every piece.

        A batch may be cut into pieces, for memory or for several processes: the loop adds up these sums over all of
        them before it asks for a term. A term that is no mean over samples needs them, as its gradient depends on the
        whole batch.
        """
        return {}

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """The named terms of the loss, scalars with a gradient, each the mean over the samples in `piece`.

        The loss of a batch is the sum of the terms of its pieces, each piece weighted by its share of the samples.
        `sums`: those of the whole batch, if they are needed. Every piece has the same terms, in the same order.
        """
        ...
