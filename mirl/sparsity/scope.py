"""Scopes, which choose by score the survivors that stay: exactly as many as asked, ties by name, then by flat index."""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from mirl.config import UserError
from mirl.sparsity.mask import Mask, masked

Scope = Callable[[Mapping[str, Tensor], Mask, int, float], Mask]
"""(scores, mask, keep, floor) -> a subset of `mask` with exactly `keep` True, on the device of `mask`.

Each layer keeps at least `floor` (in [0, 1)) of its elements, rounded up, or what it still has. Raises
UserError, with the reachable range, if `keep` cannot be reached.
"""


def globally(scores: Mapping[str, Tensor], mask: Mask, keep: int, floor: float = 0.0) -> Mask:
    """Rank the weights of all layers together; what the floors need is taken first, from the top of each layer."""
    floors = _floors(mask, floor)
    _check_reachable(keep, mask, floors)
    chosen = keep_counts(scores, mask, floors)
    open_ = {name: keep & ~chosen[name] for name, keep in mask.items()}
    added = _best(scores, open_, keep - sum(floors.values()))
    return Mask({name: keep | added[name] for name, keep in chosen.items()})


def layerwise(scores: Mapping[str, Tensor], mask: Mask, keep: int, floor: float = 0.0) -> Mask:
    """Keep the same share of the survivors of each layer, by largest remainder; a layer at its floor stays."""
    floors = _floors(mask, floor)
    _check_reachable(keep, mask, floors)
    return keep_counts(scores, mask, _shares(mask.layer_kept(), keep, floors))


def keep_counts(scores: Mapping[str, Tensor], mask: Mask, counts: Mapping[str, int]) -> Mask:
    """Keep the best `counts[name]` survivors of each layer; each count is within [0, survivors]."""
    best = (_best(scores, {name: keep}, counts[name]) for name, keep in mask.items())
    return Mask({name: keep for layer in best for name, keep in layer.items()})


SCOPES: dict[str, Scope] = {"global": globally, "layerwise": layerwise}


def _best(scores: Mapping[str, Tensor], open_: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return True at the `count` highest scores where `open_` is True; of equal scores the earlier ones."""
    if count == 0:
        return {name: torch.zeros_like(where) for name, where in open_.items()}
    scores = {name: scores[name].detach().to(where.device) for name, where in open_.items()}
    # What is not open scores 0, the least there is.
    threshold = _highest([masked(scores[name], where).reshape(-1) for name, where in open_.items()], count)
    best = {name: where & (scores[name] >= threshold) for name, where in open_.items()}
    over = Mask(best).kept - count
    assert over >= 0, f"{count} of {over + count} cannot be kept"
    for name in reversed(best):
        if over == 0:
            break
        ties = (open_[name] & (scores[name] == threshold)).nonzero()[-over:]  # in the order of the flat index
        best[name][tuple(ties.T)] = False
        over -= len(ties)
    return best


def _highest(scores: Sequence[Tensor], count: int) -> float:
    """Return the `count`-th highest of all scores, each tensor flat; `count` is at least 1."""
    if scores[0].is_cuda:
        scores_N = torch.cat(list(scores))
    else:  # numpy asks the kernel for large pages, and selects ten times as fast as torch
        scores_N = torch.from_numpy(np.concatenate([part_N.numpy() for part_N in scores]))
    least, most = scores_N.aminmax()
    assert least >= 0 and most < math.inf, "a score is not finite, or below 0"
    if scores_N.is_cuda:
        return float(scores_N.topk(count, sorted=False).values.min())
    place = len(scores_N) - count
    scores_N.numpy().partition(place)
    return float(scores_N[place])


def _floors(mask: Mask, floor: float) -> dict[str, int]:
    assert 0 <= floor < 1, f"a floor of {floor} is not in [0, 1)"
    exact = Fraction(str(floor))  # 0.1 as written: in binary, 0.1 of 30 can round up to 4
    kept = mask.layer_kept()
    return {name: min(kept[name], math.ceil(exact * mask[name].numel())) for name in mask}


def _check_reachable(keep: int, mask: Mask, floors: Mapping[str, int]) -> None:
    least, most, all_ = max(1, sum(floors.values())), mask.kept, max(mask.total, 1)
    if not least <= keep <= most:
        raise UserError(
            f"{keep} of {mask.total} weights ({keep / all_:.4%}) cannot be kept; with this floor and parent "
            f"it can be {least} ({least / all_:.4%}) to {most} ({most / all_:.4%}): change the density, "
            "the fraction or the floor"
        )


def _shares(survivors: Mapping[str, int], keep: int, floors: Mapping[str, int]) -> dict[str, int]:
    """Return whole numbers proportional to `survivors`, none below its floor, whose sum is exactly `keep`."""
    fixed: dict[str, int] = {}
    while True:
        free = {name: count for name, count in survivors.items() if name not in fixed}
        left, among = keep - sum(fixed.values()), max(sum(free.values()), 1)
        short = {name: floors[name] for name, count in free.items() if left * count < floors[name] * among}
        if not short:
            break
        fixed |= short
    shares = {name: left * count // among for name, count in free.items()}
    by_remainder = sorted(free, key=lambda name: -(left * free[name] % among))  # stable: then by name
    for name in by_remainder[: left - sum(shares.values())]:
        shares[name] += 1
    return shares | fixed
