"""Registry of the methods, each a planner of rounds. The training loop knows none of them by name."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from mirl.config import UserError
from mirl.methods.class_pruning import ClassPruning, ClassPruningArm
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
from mirl.methods.png import Png, PngArm
from mirl.methods.rewind import REMEMBERED, Rewind, RewindArm

__all__ = ["METHODS", "Arm", "Method", "Role", "planner", "remembered", "role_of", "with_role"]

METHODS: dict[str, type[Method]] = {
    "dense": Dense,
    "imp": Rewind,
    "random": Random,
    "reinit": Reinit,
    "replay": Replay,
    "oneshot": Oneshot,
    "class_pruning": ClassPruning,
    "png": Png,
}
"""`method:` of an arm -> the class that plans its rounds."""

Arm = Annotated[
    DenseArm | RewindArm | RandomArm | ReinitArm | ReplayArm | OneshotArm | ClassPruningArm | PngArm,
    Field(discriminator="method"),
]
"""Entry of `arms:` in params.yaml."""


def remembered(values: dict[str, Any]) -> Arm:
    """Return the arm of a ticket's settings, which hold only the values that were not at their defaults."""
    arm: Arm = TypeAdapter(Arm).validate_python(values, context=REMEMBERED)
    return arm


def planner(arm: Arm) -> Method:
    """Make the method that `arm` asks for, with the settings of `arm`."""
    return METHODS[arm.method](arm)


def role_of(method: str) -> Role:
    """Return the role of a method's tickets. Raises UserError, which lists the known methods, if it is unknown."""
    if method not in METHODS:
        raise UserError(f"there is no method {method!r}; the known ones are {', '.join(METHODS)}")
    return METHODS[method].role


def with_role(role: Role) -> list[str]:
    """Return the names of the methods that have this role."""
    return [name for name, method in METHODS.items() if method.role == role]
