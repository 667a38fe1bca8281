"""A tiny network with a router, and an objective that is no mean over samples, as ClassSR's (2103.04039)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mirl.data.batches import Batch
from mirl.methods.plan import Plan
from mirl.networks import NetworkSection
from mirl.objectives import Objective, Subnetworks
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.tickets.routing import ByTask

MASKS = ("easy", "hard")
ROUTING = ByTask(kind="task", tasks={"denoise_25": "easy", "derain": "hard"})


BATCH = 4


def make_batch() -> Batch:
    """BATCH samples of different brightness."""
    draw = torch.Generator().manual_seed(3)
    clean_BCHW = torch.rand(BATCH, 3, 8, 8, generator=draw)
    degraded_BCHW = clean_BCHW + torch.tensor([0.2, 0.05, 0.15, 0.0])[:, None, None, None]
    return Batch(
        degraded_BCHW=degraded_BCHW, clean_BCHW=clean_BCHW, tasks=["derain"] * BATCH, images=["a"] * BATCH
    )


class Routed(nn.Module):
    """Restores, and says by its router how it would."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3, padding=1)
        self.tail = nn.Conv2d(6, 3, 1)
        self.router = nn.Linear(3, len(MASKS))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        restored: Tensor = x_BCHW + self.tail(F.relu(self.body(x_BCHW)))
        return restored


@dataclass(frozen=True)
class Balanced(Objective):
    """L1 through both sub-networks, and how unevenly the router uses them: sum over classes of |sum of p / B - 1 / M|."""

    weight: float = 3.0
    needs_sums: ClassVar[bool] = True

    def sums(self, subnetworks: Subnetworks, piece: Batch) -> Mapping[str, Tensor]:
        p_BM = self._p(subnetworks, piece)
        return {"p": p_BM.sum(0), "samples": torch.tensor(float(len(p_BM)))}

    def terms(
        self, subnetworks: Subnetworks, piece: Batch, sums: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        p_BM = self._p(subnetworks, piece)
        outputs = torch.stack([subnetworks(piece.degraded_BCHW, mask) for mask in MASKS], dim=1)
        restored = (outputs * p_BM[..., None, None, None]).sum(1)
        side = torch.sign(sums["p"] / sums["samples"] - 1 / len(MASKS))
        uneven = (side * (p_BM.mean(0) - 1 / len(MASKS))).sum()
        return {"l1": F.l1_loss(restored, piece.clean_BCHW), "balance": self.weight * uneven}

    def _p(self, subnetworks: Subnetworks, piece: Batch) -> Tensor:
        router = subnetworks.network.get_submodule("router")
        return torch.softmax(8 * router(piece.degraded_BCHW.mean((2, 3))), dim=1)


def make_routed() -> Routed:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = Routed()
    with (
        torch.no_grad()
    ):  # it is undecided at the brightness of the samples, so that pieces of a batch differ
        network.router.weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 3))
        network.router.bias.copy_(torch.tensor([-1.8, 1.8]))
    return network


def make_routed_plan(**more: Any) -> Plan:
    """Two nested masks of the body; the router learns twice as fast."""
    draw = torch.rand(6, 3, 3, 3, generator=torch.Generator().manual_seed(2))
    tail = {"tail.weight": torch.ones(3, 6, 1, 1, dtype=torch.bool)}
    masks = Masks(
        {name: Mask({"body.weight": draw < share, **tail}) for name, share in zip(MASKS, (0.3, 0.7))}
    )
    state: State = {name: tensor.clone() for name, tensor in make_routed().state_dict().items()}
    return Plan(
        network=NetworkSection(name="nafnet"), state=masks.union.apply(state), masks=masks, start_step=0,
        routing=ROUTING, objective=Balanced(), rates={"router": 2.0}, **more,
    )  # fmt: skip
