"""Price of work, which turns the scores of a router into choices that take a given share of the work.

Dims: N patches, K sub-networks, from the least work to the most.
"""

import numpy as np

from mirl.tickets.routing import ByDifficulty, ByWork, Point

POINTS = 33
"""Number of shares of work for which a price is found, evenly from the least to the most."""
HALVINGS = 60
"""Number of bisections of the interval in which a price lies."""


def cheapest_good(scores_NK: np.ndarray, work_K: np.ndarray, price: float) -> np.ndarray:
    """Return the number of the sub-network of each patch, (N,): that of the largest score less `price` times its work.

    Of equally good ones the cheapest counts. A score that is not finite is never the largest; if no score of a patch is
    finite, its number is 0.
    """
    worth_NK = np.nan_to_num(scores_NK, nan=-np.inf, posinf=-np.inf) - price * work_K
    found_N: np.ndarray = worth_NK.argmax(1)
    return found_N


def calibrated(routing: ByWork, scores_NK: np.ndarray, patch: int, work: float) -> ByDifficulty:
    """Return the routing by difficulty among the sub-networks of `routing`, with the price of every share of work.

    `scores_NK` are the router's scores of patches like those to come. `work` is the share that is done if nobody asks for
    another, at least that of the smallest sub-network.
    """
    work_K = np.array(routing.works)
    targets = np.linspace(work_K[0], work_K[-1], POINTS)[1:-1]
    low, high = _ends(scores_NK, work_K)
    curve = [
        _point(scores_NK, work_K, price)
        for price in (high, *(price_of(target, scores_NK, work_K) for target in targets), low)
    ]
    rising = [curve[0]]
    for each in curve[1:]:
        if each.work > rising[-1].work and each.price < rising[-1].price:
            rising.append(each)
    return ByDifficulty(
        kind="difficulty", levels=routing.levels, patch=patch, curve=rising,
        work=max(work, float(work_K[0])),
    )  # fmt: skip


def price_of(work: float, scores_NK: np.ndarray, work_K: np.ndarray) -> float:
    """The highest price at which the patches take, in the mean, at least that share of the work."""
    below, above = _ends(scores_NK, work_K)  # the work falls as the price rises
    for _ in range(HALVINGS):
        middle = (above + below) / 2
        if _point(scores_NK, work_K, middle).work < work:
            above = middle
        else:
            below = middle
    return below


def _point(scores_NK: np.ndarray, work_K: np.ndarray, price: float) -> Point:
    taken_N = cheapest_good(scores_NK, work_K, price)
    shares_K = np.bincount(taken_N, minlength=len(work_K)) / len(taken_N)
    return Point(price=price, work=float(work_K @ shares_K), shares=[float(share) for share in shares_K])


def _ends(scores_NK: np.ndarray, work_K: np.ndarray) -> tuple[float, float]:
    """Return the price at which every patch takes the most work, and the one at which every patch takes the least."""
    dearer = (scores_NK[:, -1:] - scores_NK[:, :-1]) / (work_K[-1] - work_K[:-1])
    cheaper = (scores_NK[:, 1:] - scores_NK[:, :1]) / (work_K[1:] - work_K[0])
    return float(dearer.min()) - 1, float(cheaper.max()) + 1
