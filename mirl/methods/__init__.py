"""The methods: planners of rounds, all equals. The training loop knows none of them by name."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

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
from mirl.methods.plan import Method
from mirl.methods.rewind import REMEMBERED, Rewind, RewindArm

__all__ = ["METHODS", "Arm", "planner", "remembered"]

METHODS: dict[str, Callable[[Any], Method]] = {
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
