"""The methods: planners of rounds, all equals. The training loop knows none of them by name."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

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
from mirl.methods.rewind import Rewind, RewindArm

__all__ = ["METHODS", "Arm", "planner"]

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


def planner(arm: Arm) -> Method:
    """The method that `arm` asks for, with its settings."""
    return METHODS[arm.method](arm)
