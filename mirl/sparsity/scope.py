"""Which survivors stay, given their scores: exactly as many as asked, ties by name, then by flat index."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from mirl.config import UserError
from mirl.sparsity.mask import Mask

Scope = Callable[[Mapping[str, Tensor], Mask, int, float], Mask]
"""(scores, mask, keep, floor) -> a subset of `mask` with exactly `keep` True.

Each layer keeps at least `floor` (in [0, 1)) of its elements, rounded up, or what it still has. UserError,
with the reachable range, where `keep` cannot be reached.
"""


def globally(scores: Mapping[str, Tensor], mask: Mask, keep: int, floor: float = 0.0) -> Mask:
    """One ranking over all layers; what the floors need is taken first, from the top of each layer."""
    floors = _floors(mask, floor)
    _check_reachable(keep, mask, floors)
    chosen = keep_counts(scores, mask, floors)
    open_ = {name: keep & ~chosen[name] for name, keep in mask.items()}
    added = _best(scores, open_, keep - sum(floors.values()))
    return Mask({name: keep | added[name] for name, keep in chosen.items()})


def layerwise(scores: Mapping[str, Tensor], mask: Mask, keep: int, floor: float = 0.0) -> Mask:
    """Each layer keeps the same share of its survivors, by largest remainder; one at its floor stays."""
    floors = _floors(mask, floor)
    _check_reachable(keep, mask, floors)
    return keep_counts(scores, mask, _shares(mask.layer_kept(), keep, floors))


def keep_counts(scores: Mapping[str, Tensor], mask: Mask, counts: Mapping[str, int]) -> Mask:
    """The best `counts[name]` survivors of each layer, each count within [0, survivors]."""
    best = (_best(scores, {name: keep}, counts[name]) for name, keep in mask.items())
    return Mask({name: keep for layer in best for name, keep in layer.items()})


SCOPES: dict[str, Scope] = {"global": globally, "layerwise": layerwise}


def _best(scores: Mapping[str, Tensor], open_: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """True at the `count` highest scores where `open_`; of equal scores the earlier ones."""
    scores_N = {name: _flat(scores[name]) for name in open_}
    open_N = {name: _flat(where) for name, where in open_.items()}
    candidates = np.concatenate([np.zeros(0, np.float32), *(scores_N[name][open_N[name]] for name in open_)])
    assert 0 <= count <= candidates.size, f"{count} of {candidates.size} cannot be kept"
    assert np.isfinite(candidates).all(), "a score is not finite"
    if count == 0:
        return {name: torch.zeros_like(where) for name, where in open_.items()}
    candidates.partition(candidates.size - count)
    threshold = candidates[candidates.size - count]
    best_N = {name: where & (scores_N[name] > threshold) for name, where in open_N.items()}
    left = count - sum(int(np.count_nonzero(best)) for best in best_N.values())
    for name, best in best_N.items():
        ties = np.flatnonzero(open_N[name] & (scores_N[name] == threshold))[:left]
        best[ties] = True
        left -= ties.size
    return {name: _shaped(best, open_[name]) for name, best in best_N.items()}


def _flat(tensor: Tensor) -> np.ndarray:
    """On the CPU, in the order of the flat index, whatever the memory format."""
    return tensor.detach().cpu().reshape(-1).numpy()


def _shaped(flat: np.ndarray, like: Tensor) -> Tensor:
    """In the shape and memory format of `like`, on its device."""
    return torch.empty_like(like).copy_(torch.from_numpy(flat).view(like.shape))


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
    """Whole numbers proportional to `survivors`, none below its floor, whose sum is exactly `keep`."""
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
