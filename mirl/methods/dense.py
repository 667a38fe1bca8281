"""Dense training: the round that prunes nothing, after the untrained network."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from mirl.config import Section, UserError
from mirl.methods.plan import Initialise, Method, Parent, Plan, Role, copied


class DenseArm(Section):
    """No settings: the network and its training say it all."""

    method: Literal["dense"]


@dataclass(frozen=True)
class Dense(Method):
    """Train the parent's weights, all of them; the training records the origin."""

    role: ClassVar[Role] = "reference"
    arm: DenseArm

    @property
    def continues(self) -> bool:
        return True

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        if parent.mask.kept < parent.mask.total:
            raise UserError(
                f"a dense round comes after a ticket that keeps {parent.mask.density:.2%} of its weights, "
                "expected the whole network; put it after `init`"
            )
        return Plan(network=parent.network, state=copied(parent.state), masks=parent.masks, start_step=0)
