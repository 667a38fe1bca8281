import torch

from mirl.methods.early_bird import EarlyBird, EarlyBirdSection
from mirl.sparsity.mask import Mask, State

FULL = Mask({"w": torch.ones(20, dtype=torch.bool)})


def _upper_half(weights: State) -> Mask:
    """What a round of one half would keep."""
    return Mask({"w": weights["w"] >= weights["w"].sort().values[10]})


def _check(orders: list[list[float]], looks: int, distance: float) -> list[bool]:
    """What each check of these weights says."""
    section = EarlyBirdSection(every_steps=1, looks=looks, distance=distance)
    rule = EarlyBird(section, FULL, _upper_half)
    seen: State = {}
    said: list[bool] = []
    for order in orders:
        seen, enough = rule.check({"w": torch.tensor(order)}, seen)
        said.append(enough)
    return said


RISING = [float(n) for n in range(20)]
ONE_SWAPPED = [*RISING[:9], 10.0, 9.0, *RISING[11:]]  # two places of twenty change: a distance of 0.1


def test_ends_once_as_many_looks_as_asked_agree() -> None:
    assert _check([RISING] * 5, looks=3, distance=0.1) == [False, False, False, True, True]


def test_every_remembered_look_must_be_near() -> None:
    falling = RISING[::-1]
    assert _check([falling, RISING, RISING, RISING], looks=2, distance=0.1) == [False, False, False, True]


def test_the_distance_is_a_share_of_the_survivors() -> None:
    assert _check([RISING, ONE_SWAPPED], looks=1, distance=0.1) == [False, True]
    assert _check([RISING, ONE_SWAPPED], looks=1, distance=0.09) == [False, False]
