"""One round of iterative pruning with rewinding: that of MIR-L (2510.14463), and known ways to shorten its search."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from mirl.config import Section, UserError
from mirl.methods.early_bird import EarlyBird, EarlyBirdSection
from mirl.methods.plan import (
    Initialise,
    Method,
    Parent,
    Plan,
    Role,
    StoppingRule,
    TrainToEnd,
    continued,
    rewound,
)
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.schedule import decaying_fraction, keep_after, keep_at
from mirl.sparsity.scope import SCOPES
from mirl.sparsity.scores import SCORES
from mirl.sparsity.structure import AnyStructure, Unstructured

ScopeName = Literal["global", "layerwise"]
ScoreName = Literal["magnitude", "relative", "lamp"]


class DecayingFraction(Section):
    """Pruning fraction that falls with the density: pruning costs little quality while many weights are left."""

    first: float = Field(gt=0, lt=1)
    """Share of the weights that is removed from the dense network, in (0, 1)."""
    last: float = Field(gt=0, lt=1)
    """Share of the weights that is removed near the arm's target, in (0, 1)."""

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.first < self.last:
            raise ValueError(
                f"`first` is {self.first} and `last` {self.last}, but the first must not be less; swap them"
            )
        return self


SCHEDULES: dict[str, dict[str, Any]] = {
    "short": {
        "fraction": {"first": 0.6, "last": 0.25}, "target": 0.1, "score": "lamp", "rewind": "learning_rate",
        "length": 0.25,
    },
    "authors": {},
}  # fmt: skip
"""`schedule:` of an arm -> the values that differ from the defaults of RewindArm, which are the authors'."""

REMEMBERED = "remembered"
"""Validation context for values from a ticket: a value that is not there is at its default."""


def _with_kind(structure: object, info: ValidationInfo) -> object:
    return Unstructured() if structure == {} and info.context == REMEMBERED else structure


ArmStructure = Annotated[AnyStructure, BeforeValidator(_with_kind)]
"""`structure:` of an arm with another default than Unstructured, of which a ticket's settings hold no key: all are at
their defaults."""


class RewindArm(Section):
    """Settings of iterative pruning: a schedule, `short` if none is named, and the values that override it."""

    method: Literal["imp"]
    schedule: Literal["short", "authors"] = Field(default="short", exclude=True)
    """Entry of SCHEDULES from which missing keys are taken. Tickets store those keys, not the name of the schedule."""
    fraction: Annotated[float, Field(gt=0, lt=1)] | DecayingFraction = 0.2
    """Share of the surviving weights that a round removes."""
    target: float | None = Field(default=None, gt=0, lt=1)
    """Density over the prunable weights at which the search ends; the last round prunes no further than that."""
    scope: ScopeName = "global"
    score: ScoreName = "magnitude"
    floor: float = Field(default=0.0, ge=0, lt=1)
    """Share of its weights that every layer keeps in any case, which prevents collapse. Our own addition."""
    structure: AnyStructure = Unstructured()
    """Structure of the mask: the groups of weights that are kept or removed together."""
    rewind: Literal["weights", "learning_rate"] = "weights"
    """Values that are rewound before training: the weights to their origin, or only the learning rate (2003.02389)."""
    length: float = Field(default=1.0, gt=0, le=1)
    """Share of the schedule, in (0, 1], for which a round before the target trains: such a round only ranks weights."""
    settled: EarlyBirdSection | None = None
    """Rule that ends a round before the target once its ranking has settled; None: train to the end."""

    @model_validator(mode="before")
    @classmethod
    def _from_schedule(cls, values: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if info.context == REMEMBERED:
            return values
        return SCHEDULES.get(str(values.get("schedule", "short")), {}) | values

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.target is None and (self.length < 1 or self.settled):
            raise ValueError(
                "`length` and `settled` shorten the rounds before the target, and there is none; name that `target`, or "
                "leave out `length` and `settled`"
            )
        if self.target is None and isinstance(self.fraction, DecayingFraction):
            raise ValueError(
                "a fraction from `first` to `last` falls on the way to a `target`; name that density"
            )
        return self


@dataclass(frozen=True)
class Rewind(Method):
    """Method that removes the lowest-scored of the surviving weights and rewinds the rest."""

    role: ClassVar[Role] = "candidate"
    arm: RewindArm

    @property
    def continues(self) -> bool:
        return self.arm.rewind == "learning_rate"

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        is_last = self._keep(parent.mask) == self._least(parent.mask)
        mask = self._cut(parent.state, parent.origin, parent.mask)
        if self.continues:
            plan = continued(parent, mask)
        else:
            plan = rewound(parent, mask)
        if is_last:
            return plan
        rule = self._stopping_rule(parent.origin, mask)
        shortened = self.arm.length < 1 or self.arm.settled is not None
        return replace(plan, length=self.arm.length, stopping_rule=rule, ranks_only=shortened)

    def _stopping_rule(self, origin: State, mask: Mask) -> StoppingRule:
        if self.arm.settled is None:
            return TrainToEnd()
        return EarlyBird(self.arm.settled, mask, partial(self._cut, origin=origin, mask=mask))

    def _cut(self, weights: State, origin: State, mask: Mask) -> Mask:
        """Return the part of `mask` that a round after these weights keeps."""
        scores = SCORES[self.arm.score](weights, origin, mask)
        scope = SCOPES[self.arm.scope]
        return self.arm.structure.select(scores, mask, self._keep(mask), scope, self.arm.floor)

    def _keep(self, mask: Mask) -> int:
        pace, least = self.arm.fraction, self._least(mask)
        if mask.kept <= least:
            raise UserError(
                f"nothing is left to remove: {mask.density:.4%} of the weights are kept, and the arm's target is "
                f"{self.arm.target:.4%}; leave out this round, or lower the target"
            )
        if isinstance(pace, DecayingFraction):
            assert self.arm.target is not None
            pace = decaying_fraction(mask.density, pace.first, pace.last, self.arm.target)
        return max(keep_after(mask.kept, pace), least)

    def _least(self, mask: Mask) -> int:
        """Return the number of weights that the target keeps; 0 if there is no target."""
        return 0 if self.arm.target is None else keep_at(mask.total, self.arm.target)
