"""MIR-L's iterative pruning with rewinding (2510.14463), one round of it."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from mirl.config import Section
from mirl.methods.plan import Fresh, Method, Parent, Plan, rewound
from mirl.sparsity.schedule import keep_after
from mirl.sparsity.scope import SCOPES
from mirl.sparsity.scores import SCORES

ScopeName = Literal["global", "layerwise"]
ScoreName = Literal["magnitude", "relative", "lamp"]


class RewindArm(Section):
    """The defaults are the authors': a fifth of the survivors goes, by magnitude over all layers."""

    method: Literal["imp"]
    fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the surviving weights that a round removes."""
    scope: ScopeName = "global"
    score: ScoreName = "magnitude"
    floor: float = Field(default=0.0, ge=0, lt=1)
    """Share of its weights that every layer keeps, come what may: prevents collapse. Ours."""


@dataclass(frozen=True)
class Rewind(Method):
    """Remove the least of the survivors, put everything else back to the origin."""

    arm: RewindArm

    def plan(self, parent: Parent, fresh: Fresh) -> Plan:
        keep = keep_after(parent.mask.kept, self.arm.fraction)
        scores = SCORES[self.arm.score](parent.weights, parent.origin, parent.mask)
        mask = SCOPES[self.arm.scope](scores, parent.mask, keep, self.arm.floor)
        return rewound(parent.origin, parent.origin_step, mask)
