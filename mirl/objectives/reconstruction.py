"""Reconstruction loss: the distance between a restored image and the clean one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from mirl.data.batches import Batch
from mirl.objectives.objective import Objective, Subnetworks
from mirl.sparsity.accounting import BACKWARD, FORWARD
from mirl.sparsity.masks import ONE


@dataclass(frozen=True)
class Reconstruction(Objective):
    """Mean absolute error of one sub-network (L1, as PromptIR and MIR-L train)."""

    mask: str = ONE
    """Name of its mask."""

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        return {"l1": F.l1_loss(subnetworks(piece.degraded_BCHW, self.mask), piece.clean_BCHW)}

    def passes(self, masks: Sequence[str]) -> Mapping[str, float]:
        return {self.mask: FORWARD + BACKWARD}
