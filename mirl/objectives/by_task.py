"""Reconstruction by several sub-networks, each of which restores tasks of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from mirl.data.batches import Batch
from mirl.objectives.objective import Objective, Subnetworks
from mirl.sparsity.accounting import BACKWARD, FORWARD


@dataclass(frozen=True)
class ReconstructionByTask(Objective):
    """Mean absolute error (L1) of the sub-network of the batch's task; all samples of a batch are of one sub-network."""

    masks: Mapping[str, str]
    """Restoration task -> name of the mask of its sub-network."""

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        (mask,) = {self.masks[task] for task in piece.tasks}
        return {"l1": F.l1_loss(subnetworks(piece.degraded_BCHW, mask), piece.clean_BCHW)}

    def passes(self, masks: Sequence[str]) -> Mapping[str, float]:
        """Return what a sample passes through in the mean, if all tasks are drawn equally often."""
        of_tasks = list(self.masks.values())
        each = (FORWARD + BACKWARD) / len(of_tasks)
        return {mask: each * of_tasks.count(mask) for mask in dict.fromkeys(of_tasks)}
