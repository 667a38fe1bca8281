"""How many weights stay: whole numbers from fractions, exact as written, half rounded up."""

import math
from fractions import Fraction

from mirl.config import UserError


def keep_after(kept: int, fraction: float) -> int:
    """What is left of `kept` weights once `fraction`, in (0, 1), of them is removed.

    UserError where the fraction is outside, or so small that none of them would go.
    """
    if not 0 < fraction < 1:
        raise UserError(f"the fraction to remove is {fraction}, expected a number between 0 and 1")
    left = _nearest(kept * (1 - Fraction(str(fraction))))
    if left == kept:
        raise UserError(
            f"a fraction of {fraction} removes none of the {kept} weights that are left; raise it"
        )
    return left


def keep_at(total: int, density: float) -> int:
    """How many of `total` weights make `density`, in (0, 1]; UserError where it is outside."""
    if not 0 < density <= 1:
        raise UserError(f"the density is {density}, expected a number above 0 and up to 1")
    return _nearest(total * Fraction(str(density)))


def decaying_fraction(density: float, first: float, last: float, until: float) -> float:
    """The fraction to remove from a network of `density`: fast first, slow later.

    `first` at density 1, `last` at density `until`, straight over the logarithm of the density in between;
    in steps of 0.0001, so that no machine's rounding shows. All in (0, 1). Ours: pruning is nearly free at high density.
    """
    way = min(math.log(density) / math.log(until), 1.0)
    return round(first + (last - first) * way, 4)


def _nearest(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
