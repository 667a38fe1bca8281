"""The methods: planners of rounds, all equals. The training loop knows none of them by name."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from mirl.config import UserError
from mirl.methods.controls import (
    Oneshot,
    OneshotArm,
    Random,
    RandomArm,
    Reinit,
    ReinitArm,
    Replay,
    ReplayArm,
)
from mirl.methods.dense import Dense, DenseArm
from mirl.methods.plan import Method, Role
from mirl.methods.rewind import REMEMBERED, Rewind, RewindArm

__all__ = ["METHODS", "Arm", "Role", "planner", "remembered", "role_of", "with_role"]

METHODS: dict[str, type[Method]] = {
    "dense": Dense,
    "imp": Rewind,
    "random": Random,
    "reinit": Reinit,
    "replay": Replay,
    "oneshot": Oneshot,
}
"""`method:` of an arm -> what plans by it."""

Arm = Annotated[
    DenseArm | RewindArm | RandomArm | ReinitArm | ReplayArm | OneshotArm, Field(discriminator="method")
]
"""One entry of `arms:` in params.yaml."""


def remembered(values: dict[str, Any]) -> Arm:
    """The arm of a ticket's settings, which hold what was not at its default."""
    arm: Arm = TypeAdapter(Arm).validate_python(values, context=REMEMBERED)
    return arm


def planner(arm: Arm) -> Method:
    """The method that `arm` asks for, with its settings."""
    return METHODS[arm.method](arm)


def role_of(method: str) -> Role:
    """What tickets by that method are for. Raises UserError if there is no such method; it lists the known ones."""
    if method not in METHODS:
        raise UserError(f"there is no method {method!r}; the known ones are {', '.join(METHODS)}")
    return METHODS[method].role


def with_role(role: Role) -> list[str]:
    """The names of the methods that have this role."""
    return [name for name, method in METHODS.items() if method.role == role]
