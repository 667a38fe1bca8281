"""The price of work."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mirl.config import UserError
from mirl.tickets.calibration import calibrated, cheapest_good, price_of
from mirl.tickets.routing import ByDifficulty, ByWork

LEVELS = {"hard": 1.0, "easy": 0.25, "medium": 0.5}
ROUTING = ByWork(kind="work", levels=LEVELS)
WORK_K = np.array([0.25, 0.5, 1.0])


def test_a_patch_goes_to_the_best_score_less_the_price_of_its_work() -> None:
    scores_NK = np.array([[0.0, 0.2, 0.3], [0.0, 0.1, 0.9], [0.5, 0.1, 0.0]])
    assert cheapest_good(scores_NK, WORK_K, 0.0).tolist() == [2, 2, 0]
    assert cheapest_good(scores_NK, WORK_K, 0.5).tolist() == [1, 2, 0]
    assert cheapest_good(scores_NK, WORK_K, 2.0).tolist() == [0, 0, 0]
    assert cheapest_good(scores_NK, WORK_K, -9.0).tolist() == [2, 2, 2]


def test_of_equally_good_sub_networks_the_cheapest_is_taken_also_without_a_score() -> None:
    scores_NK = np.array([[1.0, 1.0, 1.0], [np.nan, np.nan, np.nan], [np.nan, 0.0, np.inf]])
    assert cheapest_good(scores_NK, WORK_K, 0.0).tolist() == [0, 0, 1]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.floats(0.01, 30))
def test_every_share_of_work_has_its_price(seed: int, patches: int, spread: float) -> None:
    scores_NK = np.random.default_rng(seed).normal(0, spread, (patches, 3))
    routing = calibrated(ROUTING, scores_NK, 64, 0.5)
    curve = routing.curve
    assert (curve[0].work, curve[-1].work) == (0.25, 1.0)
    assert all(a.work < b.work and a.price > b.price for a, b in pairwise(curve))
    for point in curve:
        taken_N = cheapest_good(scores_NK, WORK_K, point.price)
        assert point.work == pytest.approx(WORK_K[taken_N].mean())
        assert point.shares == pytest.approx(np.bincount(taken_N, minlength=3) / patches)
        assert routing.price(point.work) == pytest.approx(point.price)


def test_a_wanted_share_of_work_is_done_on_patches_like_those_of_the_calibration() -> None:
    draw = np.random.default_rng(0)
    routing = calibrated(ROUTING, draw.normal(size=(4000, 3)), 64, 0.5)
    for work in (0.3, 0.45, 0.6, 0.9):
        taken_N = cheapest_good(draw.normal(size=(4000, 3)), WORK_K, routing.price(work))
        assert WORK_K[taken_N].mean() == pytest.approx(work, abs=0.02)


def test_at_the_price_of_some_work_that_work_is_done_and_hardly_more() -> None:
    scores_NK = np.random.default_rng(0).normal(size=(400, 3))
    for work in (0.3, 0.45, 0.6, 0.9):
        price = price_of(work, scores_NK, WORK_K)
        assert work <= WORK_K[cheapest_good(scores_NK, WORK_K, price)].mean() <= work + 0.75 / 400


def test_a_sub_network_that_nothing_is_chosen_for_shows_in_the_shares() -> None:
    scores_NK = np.array([[0.0, -50.0, 0.1], [0.0, -50.0, 0.2]])
    assert all(point.shares[1] == 0 for point in calibrated(ROUTING, scores_NK, 64, 0.5).curve)


def test_the_usual_work_is_at_least_the_least() -> None:
    assert calibrated(ROUTING, np.zeros((2, 3)), 64, 0.1).work == 0.25


def test_the_order_of_the_levels_in_a_file_says_nothing() -> None:
    assert list(ROUTING.masks(())) == ["easy", "medium", "hard"] and ROUTING.works == [0.25, 0.5, 1.0]
    assert ROUTING.words() == "by work: easy 25%, medium 50%, hard 100%"


POINTS = [
    {"price": 2.0, "work": 0.25, "shares": [1.0, 0.0, 0.0]},
    {"price": 1.0, "work": 1.0, "shares": [0.0, 0.0, 1.0]},
]
GOOD = {"kind": "difficulty", "levels": LEVELS, "patch": 64, "curve": POINTS, "work": 0.5}


@pytest.mark.parametrize(
    "broken",
    [
        {"levels": {"easy": 0.25}},
        {"levels": {"easy": 0.25, "hard": 0.5}},
        {"levels": {"easy": 1.0, "hard": 1.0}},
        {"levels": {"easy": 0.0, "medium": 0.5, "hard": 1.0}},
        {"patch": 4},
        {"patch": 10**9},
        {"curve": POINTS[:1]},
        {"curve": POINTS[::-1]},
        {"curve": [POINTS[0], POINTS[1] | {"price": 2.0}]},
        {"curve": [POINTS[0], POINTS[1] | {"price": float("nan")}]},
        {"curve": [POINTS[0], POINTS[1] | {"price": float("inf")}]},
        {"curve": [POINTS[0], POINTS[1] | {"shares": [1.0]}]},
        {"curve": POINTS * 1000},
        {"work": 0.0},
        {"work": 1.5},
        {"more": 1},
    ],
)
def test_a_routing_that_was_tampered_with_is_refused(broken: dict[str, object]) -> None:
    ByDifficulty.model_validate(GOOD)
    with pytest.raises(ValidationError):
        ByDifficulty.model_validate(GOOD | broken)
    with pytest.raises(UserError):
        ByDifficulty.read(GOOD | broken, "a ticket")
