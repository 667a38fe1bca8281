"""Controls that a winning ticket must beat: each lacks something that prune-and-rewind claims to need.

All but `replay` train one schedule from the origin. Compared with a ticket whose weights were not rewound they also
lack its longer training, which `replay` has.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field

from mirl.config import Section, UserError
from mirl.methods.plan import Initialise, Method, Parent, Plan, Role, continued, rewound
from mirl.methods.rewind import ScopeName, ScoreName
from mirl.sparsity.mask import Mask
from mirl.sparsity.schedule import keep_at
from mirl.sparsity.scope import SCOPES, keep_counts
from mirl.sparsity.scores import SCORES, random_scores
from mirl.sparsity.structure import AnyStructure, Unstructured


class RandomArm(Section):
    """Settings of the control that trains a random mask as large as the mask of the parent ticket."""

    method: Literal["random"]
    scope: Literal["global", "layerwise", "shuffled"] = "global"
    """`global`: uniform over all prunable weights; `layerwise`: the same share of every layer;
    `shuffled`: every layer keeps as many as in the ticket, elsewhere."""
    seed: int = Field(default=0, ge=0, lt=2**63)


class ReinitArm(Section):
    """Settings of the control that trains the parent ticket's mask on a newly initialised network."""

    method: Literal["reinit"]
    seed: int = Field(default=1000, ge=0, lt=2**63)
    """Seed of the new initialisation; not the network's own seed."""


class ReplayArm(Section):
    """Control without settings: the network of the parent ticket goes through the schedule again, unpruned."""

    method: Literal["replay"]


class OneshotArm(Section):
    """Settings of the control that prunes the parent ticket, usually the dense one, straight to the density."""

    method: Literal["oneshot"]
    density: float = Field(gt=0, lt=1)
    """Density over the prunable weights, in (0, 1)."""
    scope: ScopeName = "global"
    score: ScoreName = "magnitude"
    floor: float = Field(default=0.0, ge=0, lt=1)
    """Share of its weights that every layer keeps in any case."""
    structure: AnyStructure = Unstructured()
    """Structure of the mask: the groups of weights that are kept or removed together."""


@dataclass(frozen=True)
class Random(Method):
    """Control that replaces the ranking of the weights by chance."""

    role: ClassVar[Role] = "control"
    arm: RandomArm

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        full = Mask.full(parent.mask)
        if parent.mask.kept == full.total:
            raise UserError(
                "a random control comes after a ticket that keeps everything; put it after a pruned one"
            )
        scores = random_scores(full, torch.Generator().manual_seed(self.arm.seed))
        if self.arm.scope == "shuffled":
            mask = keep_counts(scores, full, parent.mask.layer_kept())
        else:
            mask = SCOPES[self.arm.scope](scores, full, parent.mask.kept, 0.0)
        return rewound(parent, mask)


@dataclass(frozen=True)
class Reinit(Method):
    """Control that replaces the origin by another initialisation."""

    role: ClassVar[Role] = "control"
    arm: ReinitArm

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        start = initialise(self.arm.seed)
        if all(torch.equal(start[name], parent.origin[name]) for name in parent.mask):
            raise UserError(
                f"seed {self.arm.seed} initialises anew to the very origin; choose another than network.seed"
            )
        return rewound(parent, parent.mask, start, 0)


@dataclass(frozen=True)
class Replay(Method):
    """Control that trains for longer instead of pruning, as a ticket whose weights were not rewound has done."""

    role: ClassVar[Role] = "control"
    arm: ReplayArm

    @property
    def continues(self) -> bool:
        return True

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        return continued(parent, parent.mask)


@dataclass(frozen=True)
class Oneshot(Method):
    """Control that prunes once instead of in rounds."""

    role: ClassVar[Role] = "control"
    arm: OneshotArm

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        keep = keep_at(parent.mask.total, self.arm.density)
        scores = SCORES[self.arm.score](parent.state, parent.origin, parent.mask)
        scope = SCOPES[self.arm.scope]
        mask = self.arm.structure.select(scores, parent.mask, keep, scope, self.arm.floor)
        return rewound(parent, mask)
