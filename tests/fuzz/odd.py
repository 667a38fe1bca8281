"""Values that a reader does not expect."""

import random
from typing import Any

HUGE = (2**15, 10**6, 2**31 - 1, 2**31, 2**40, 2**62, 2**63, 2**64, 10**30, 10**400, 10**4200)
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    -(2**63),
    0,
    1,
    0.5,
    1e308,
    -0.0,
    "",
    "\x1b[31m\n",
    "9" * 3000,
    [],
    {},
    [[1]],
    [2**31] * 3,
)


def a_number(rng: random.Random) -> Any:
    """A value where a number of some size is due."""
    return rng.choice([rng.choice(HUGE), -rng.choice(HUGE), rng.choice(ODD), rng.randint(1, 5000)])
