"""Numbers of weights that stay: whole numbers from fractions, exact as written, half rounded up."""

import math
from fractions import Fraction

from mirl.config import UserError


def keep_after(kept: int, fraction: float) -> int:
    """Return the number of weights left of `kept` once `fraction`, in (0, 1), of them is removed.

    Raises UserError if the fraction is out of range, or so small that none of the weights would go.
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
    """Return how many of `total` weights make `density`, in (0, 1]. Raises UserError if the density is out of range."""
    if not 0 < density <= 1:
        raise UserError(f"the density is {density}, expected a number above 0 and up to 1")
    return _nearest(total * Fraction(str(density)))


def decaying_fraction(density: float, first: float, last: float, until: float) -> float:
    """Return the fraction to remove from a network of `density`: large at first, small later.

    The fraction is `first` at density 1 and `last` at density `until`, linear in the logarithm of the density in
    between, in steps of 0.0001, so that no machine's rounding shows. All are in (0, 1). Ours: pruning is nearly free at
    high density.
    """
    way = min(math.log(density) / math.log(until), 1.0)
    return round(first + (last - first) * way, 4)


def _nearest(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))
