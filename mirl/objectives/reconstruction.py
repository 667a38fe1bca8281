"""Reconstruction loss: the distance between a restored image and the clean one."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from mirl.data.batches import Batch
from mirl.objectives.objective import Objective, Subnetworks


@dataclass(frozen=True)
class Reconstruction(Objective):
    """Mean absolute error of the only sub-network (L1, as PromptIR and MIR-L train)."""

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        return {"l1": F.l1_loss(subnetworks(piece.degraded_BCHW), piece.clean_BCHW)}
