"""Objectives of several sub-networks over one set of weights, and of the router that chooses among them.

Dims: B patches, C channels, H height, W width, K sub-networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mirl.data.batches import Batch
from mirl.objectives.objective import Objective, Subnetworks
from mirl.sparsity.accounting import BACKWARD, FORWARD

SMALLEST_ERROR = 1e-8
"""Floor of a mean squared error, before its logarithm: 80 dB."""
OUTLIER_DB = 3.0
"""Error of a router's score above which it counts in proportion, no longer squared."""


@dataclass(frozen=True)
class Levels(Objective):
    """Mean over several sub-networks of their mean absolute errors, each on every sample (ours).

    With a `decay` there is one term more, whose gradient is the mean over the sub-networks of `decay` (1 - mask) w: that of
    SR-STE (2102.04010), which has one sub-network.
    """

    masks: tuple[str, ...]
    decay: float = 0.0

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        terms = {
            f"l1_{mask}": F.l1_loss(subnetworks(piece.degraded_BCHW, mask), piece.clean_BCHW)
            / len(self.masks)
            for mask in self.masks
        }
        if self.decay:
            dropped = torch.stack([subnetworks.dropped(mask) for mask in self.masks])
            terms["decay"] = self.decay / 2 * dropped.mean()
        return terms

    def passes(self, masks: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(self.masks, FORWARD + BACKWARD)


@dataclass(frozen=True)
class RouterFit(Objective):
    """Error of the router's scores: each is to be the PSNR of its sub-network in dB, up to a constant of the patch (ours).

    Such a score is the *mean* PSNR of patches that look alike, so the largest score_k - price * work_k is the choice
    with the best mean PSNR where work has that price. The term is a Huber loss with the threshold `OUTLIER_DB`, on scores
    and PSNR less their means over the sub-networks. The sub-networks are not trained.
    """

    masks: tuple[str, ...]
    """Names of the sub-networks from the least work to the most, in the order of the router's outputs."""

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        with torch.no_grad():
            errors_BK = torch.stack(
                [
                    (subnetworks(piece.degraded_BCHW, mask) - piece.clean_BCHW).square().mean((1, 2, 3))
                    for mask in self.masks
                ],
                dim=1,
            )
            psnr_BK = -10 * errors_BK.clamp(min=SMALLEST_ERROR).log10()
        scores_BK = router_of(subnetworks)(piece.degraded_BCHW).float()
        centred = (scores_BK - scores_BK.mean(1, keepdim=True), psnr_BK - psnr_BK.mean(1, keepdim=True))
        return {"gain": F.huber_loss(*centred, delta=OUTLIER_DB)}

    def passes(self, masks: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(self.masks, FORWARD)


@dataclass(frozen=True)
class SoftChoice(Objective):
    """Joint objective of the sub-networks and the router, as in ClassSR (2103.04039, section 3.3).

    The restored image is the mean of the sub-networks' outputs, weighted by the router's probabilities p. The terms beside
    its mean absolute error, `l1`, are:

    - `class`: the mean over samples of (K - 1) - sum over i < j of |p_i - p_j|, 0 where the router is sure.
    - `balance`: sum over k of |sum over samples of p_k - B / K| / (B K), B and the sum being those of the whole batch; 0
      where every sub-network is chosen as often.
    """

    masks: tuple[str, ...]
    class_weight: float
    balance_weight: float
    needs_sums: ClassVar[bool] = True

    def sums(self, subnetworks: Subnetworks, piece: Batch) -> Mapping[str, Tensor]:
        p_BK = self._probabilities(subnetworks, piece)
        return {"chosen": p_BK.sum(0), "samples": p_BK.new_tensor(float(len(p_BK)))}

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        p_BK = self._probabilities(subnetworks, piece)
        out_BCHW = torch.zeros_like(piece.clean_BCHW)
        for place, mask in enumerate(self.masks):
            out_BCHW = out_BCHW + p_BK[:, place, None, None, None] * subnetworks(piece.degraded_BCHW, mask)
        apart = [(p_BK[:, i] - p_BK[:, j]).abs() for i, j in combinations(range(len(self.masks)), 2)]
        unsure = len(self.masks) - 1 - torch.stack(apart).sum(0).mean()
        # The derivative of |x| is the sign of x, which the whole batch knows: so a mean over pieces has the right gradient
        # and the right value.
        excess_K = sums["chosen"] - sums["samples"] / len(self.masks)
        balance = (excess_K.sign() * (p_BK.mean(0) - 1 / len(self.masks))).sum() / len(self.masks)
        return {
            "l1": F.l1_loss(out_BCHW, piece.clean_BCHW),
            "class": self.class_weight * unsure,
            "balance": self.balance_weight * balance,
        }

    def passes(self, masks: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(self.masks, FORWARD + BACKWARD)

    @staticmethod
    def _probabilities(subnetworks: Subnetworks, piece: Batch) -> Tensor:
        scores_BK = router_of(subnetworks)(piece.degraded_BCHW).float()
        return torch.softmax(scores_BK, dim=1)


def router_of(subnetworks: Subnetworks) -> nn.Module:
    """Return the router of the network that is being trained."""
    return subnetworks.network.get_submodule("router")
