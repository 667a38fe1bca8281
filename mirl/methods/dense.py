"""Dense training: the round after the untrained network, which prunes nothing."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from mirl.config import Section, UserError
from mirl.methods.plan import Initialise, Method, Parent, Plan, Role, from_weights


class DenseArm(Section):
    """Arm of dense training. It has no settings beyond those of the network and of training."""

    method: Literal["dense"]


@dataclass(frozen=True)
class Dense(Method):
    """Method that trains all of the parent's weights; the training records the origin."""

    role: ClassVar[Role] = "reference"
    arm: DenseArm
    tasks: tuple[str, ...] = ()
    """Requirement: the tasks that are trained and served; empty: all of the study."""
    scales: tuple[int, ...] = ()
    """What each of these tasks enlarges by."""

    def serving(self, tasks: tuple[str, ...], scales: tuple[int, ...] = ()) -> Self:
        return replace(self, tasks=tasks, scales=scales)

    @property
    def continues(self) -> bool:
        return True

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        if parent.mask.kept < parent.mask.total:
            raise UserError(
                f"a dense round comes after a ticket that keeps {parent.mask.density:.2%} of its weights, "
                "expected the whole network; put it after `init`"
            )
        return from_weights(parent, self.tasks, self.scales)
