"""Contract of an objective. Dimensions in names: B images, C channels, H height, W width."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from torch import Tensor, nn

from mirl.data.batches import Batch
from mirl.sparsity.accounting import BACKWARD, FORWARD
from mirl.sparsity.masks import ONE


class Subnetworks(Protocol):
    """Network that is being trained, which can be run as any of its sub-networks."""

    network: nn.Module
    """Whole network; a router or a head is a submodule."""

    def __call__(self, image_BCHW: Tensor, mask: str = ONE) -> Tensor:
        """Run the sub-network of that mask on degraded images; return float32 of the clean ones' shape, not clamped."""
        ...

    def dropped(self, mask: str) -> Tensor:
        """Return the sum of the squares of the weights that the sub-network of that mask does without, a scalar."""
        ...


class Objective(Protocol):
    """Loss of a training: immutable and made of plain values, so that it can be sent to every process of a training."""

    needs_sums: ClassVar[bool] = False
    """True if `terms` needs the `sums` over the whole batch."""

    def sums(self, subnetworks: Subnetworks, piece: Batch) -> Mapping[str, Tensor]:
        """Compute named sums over the samples in `piece`, without a gradient; the names are the same for every piece.

        A batch may be cut into pieces, for memory or for several processes: the loop adds up these sums over all
        pieces before it asks for a term. A term that is not a mean over samples needs the sums, as its gradient depends
        on the whole batch.
        """
        return {}

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """Compute the named terms of the loss: scalars with a gradient, each the mean over the samples in `piece`.

        The loss of a batch is the sum of the terms of its pieces, each piece weighted by its share of the samples.
        `sums` are those of the whole batch, if they are needed. Every piece has the same terms, in the same order.
        """
        ...

    def passes(self, masks: Sequence[str]) -> Mapping[str, float]:
        """Return how often each sub-network is passed through for a sample: what a training costs.

        `masks` are those of the model. A forward pass is one; a backward pass, by convention, two.
        """
        return {masks[0]: FORWARD + BACKWARD}
