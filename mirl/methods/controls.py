"""What a winning ticket must beat: each method here lacks something that prune-and-rewind claims to need.

All but `replay` train one schedule from the origin. Beside a ticket whose weights were not rewound they also lack its longer
training, which `replay` has.
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
    """A random mask as large as that of the ticket it comes after."""

    method: Literal["random"]
    scope: Literal["global", "layerwise", "shuffled"] = "global"
    """`global`: uniform over all prunable weights; `layerwise`: the same share of every layer;
    `shuffled`: every layer keeps as many as in the ticket, elsewhere."""
    seed: int = Field(default=0, ge=0, lt=2**63)


class ReinitArm(Section):
    """The mask of the ticket it comes after, on a network that was initialised anew."""

    method: Literal["reinit"]
    seed: int = Field(default=1000, ge=0, lt=2**63)
    """Of the new initialisation; not the network's own."""


class ReplayArm(Section):
    """No settings. The network of the ticket it comes after, unpruned, goes through the schedule again."""

    method: Literal["replay"]


class OneshotArm(Section):
    """One pruning of the ticket it comes after, the dense one as a rule, straight to the density."""

    method: Literal["oneshot"]
    density: float = Field(gt=0, lt=1)
    """Over the prunable weights."""
    scope: ScopeName = "global"
    score: ScoreName = "magnitude"
    floor: float = Field(default=0.0, ge=0, lt=1)
    """Share of its weights that every layer keeps, come what may."""
    structure: AnyStructure = Unstructured()
    """Which weights come and go together."""


@dataclass(frozen=True)
class Random(Method):
    """Chance in place of the ranking."""

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
    """Another initialisation in place of the origin."""

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
    """More training in place of pruning: a ticket whose weights were not rewound has had more than its parent."""

    role: ClassVar[Role] = "control"
    arm: ReplayArm

    @property
    def continues(self) -> bool:
        return True

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        return continued(parent, parent.mask)


@dataclass(frozen=True)
class Oneshot(Method):
    """One cut in place of rounds."""

    role: ClassVar[Role] = "control"
    arm: OneshotArm

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        keep = keep_at(parent.mask.total, self.arm.density)
        scores = SCORES[self.arm.score](parent.state, parent.origin, parent.mask)
        scope = SCOPES[self.arm.scope]
        mask = self.arm.structure.select(scores, parent.mask, keep, scope, self.arm.floor)
        return rewound(parent, mask)
