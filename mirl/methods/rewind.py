"""Iterative pruning with rewinding, one round of it: MIR-L's (2510.14463), and what is known to make its search short."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

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
    """A fraction that falls with the density: pruning is nearly free while much is left."""

    first: float = Field(gt=0, lt=1)
    """Share that is removed from a whole network."""
    last: float = Field(gt=0, lt=1)
    """Share that is removed where the arm's target is near."""

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
"""`schedule:` of an arm -> its keys where they are not the defaults of RewindArm, which are the authors'."""

REMEMBERED = "remembered"
"""Context of validation that takes values as a ticket remembers them: what is not there is at its default."""


class RewindArm(Section):
    """A schedule, `short` where none is named, and what is said otherwise."""

    method: Literal["imp"]
    schedule: Literal["short", "authors"] = Field(default="short", exclude=True)
    """Where the keys come from that are not given: SCHEDULES. Tickets remember those, not this."""
    fraction: Annotated[float, Field(gt=0, lt=1)] | DecayingFraction = 0.2
    """Share of the surviving weights that a round removes."""
    target: float | None = Field(default=None, gt=0, lt=1)
    """Density over the prunable weights at which the search ends: the last round removes only what is left to remove."""
    scope: ScopeName = "global"
    score: ScoreName = "magnitude"
    floor: float = Field(default=0.0, ge=0, lt=1)
    """Share of its weights that every layer keeps, come what may: prevents collapse. Ours."""
    structure: AnyStructure = Unstructured()
    """Which weights come and go together."""
    rewind: Literal["weights", "learning_rate"] = "weights"
    """What goes back before training: the weights to their origin, or only the learning rate (2003.02389)."""
    length: float = Field(default=1.0, gt=0, le=1)
    """Share of the schedule that a round before the target trains: it ranks the weights sooner."""
    settled: EarlyBirdSection | None = None
    """When to end a round before the target, because its ranking has settled; none: train to the end."""

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
    """Remove the least of the survivors, put everything else back."""

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
        return replace(plan, length=self.arm.length, stopping_rule=self._stopping_rule(parent.origin, mask))

    def _stopping_rule(self, origin: State, mask: Mask) -> StoppingRule:
        if self.arm.settled is None:
            return TrainToEnd()
        return EarlyBird(self.arm.settled, mask, partial(self._cut, origin=origin, mask=mask))

    def _cut(self, weights: State, origin: State, mask: Mask) -> Mask:
        """What a round after these weights keeps of `mask`."""
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
        """Weights that the target keeps; 0 where there is none."""
        return 0 if self.arm.target is None else keep_at(mask.total, self.arm.target)
