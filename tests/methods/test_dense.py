from collections.abc import Callable

import pytest

from mirl.config import UserError
from mirl.methods.dense import Dense, DenseArm
from mirl.methods.plan import Parent
from mirl.sparsity.mask import State

METHOD = Dense(DenseArm(method="dense"))


def test_trains_everything_from_the_start_and_leaves_the_origin_to_the_training(
    make_parent: Callable[[float], Parent], initialise: Callable[[int], State]
) -> None:
    plan = METHOD.plan(make_parent(1.1), initialise)
    assert plan.mask.density == 1 and plan.start_step == 0 and plan.origin is None


def test_does_not_regrow_a_ticket(
    make_parent: Callable[[float], Parent], initialise: Callable[[int], State]
) -> None:
    with pytest.raises(UserError, match="expected the whole network"):
        METHOD.plan(make_parent(0.5), initialise)
