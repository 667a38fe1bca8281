import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirl.config import UserError
from mirl.methods.rewind import ScopeName
from mirl.sparsity.mask import Mask
from mirl.sparsity.scope import SCOPES, keep_counts

SCORES = {"a": torch.tensor([5.0, 1.0, 4.0, 1.0]), "b": torch.tensor([[2.0, 1.0], [3.0, 6.0]])}
FULL = Mask.full(SCORES)


def _kept(mask: Mask) -> dict[str, list[int]]:
    return {name: keep.flatten().nonzero().flatten().tolist() for name, keep in mask.items()}


@st.composite
def _cases(draw: st.DrawFn) -> tuple[dict[str, torch.Tensor], Mask, int, float]:
    """Few distinct scores, so that ties are everywhere; some layers empty."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    keep = {
        f"l{i}": torch.tensor(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
        for i, n in enumerate(sizes)
    }
    scores = {
        name: torch.tensor(draw(st.lists(st.integers(0, 3), min_size=len(k), max_size=len(k)))).float()
        for name, k in keep.items()
    }
    mask = Mask(keep)
    floor = draw(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9]))
    least = sum(_floors(mask, floor).values())
    return scores, mask, draw(st.integers(max(1, least), max(1, mask.kept))), floor


def _floors(mask: Mask, floor: float) -> dict[str, int]:
    kept = mask.layer_kept()
    return {name: min(kept[name], math.ceil(round(floor * mask[name].numel(), 9))) for name in mask}


@pytest.mark.parametrize("scope", SCOPES)
@given(case=_cases())
@settings(max_examples=60, deadline=None)
def test_every_scope_keeps_exactly_k_survivors_the_best_of_each_layer(scope: str, case: tuple) -> None:
    scores, mask, keep, floor = case
    if mask.kept == 0:
        with pytest.raises(UserError):
            SCOPES[scope](scores, mask, keep, floor)
        return
    after = SCOPES[scope](scores, mask, keep, floor)
    assert after.kept == keep and list(after) == list(mask)
    floors, kept = _floors(mask, floor), after.layer_kept()
    for name, chosen in after.items():
        assert not (chosen & ~mask[name]).any()
        assert kept[name] >= floors[name]
        survivors = mask[name].nonzero().flatten().tolist()
        best = sorted(survivors, key=lambda at: (-float(scores[name][at]), at))[: kept[name]]
        assert chosen.nonzero().flatten().tolist() == sorted(best)


@given(case=_cases())
@settings(max_examples=60, deadline=None)
def test_global_is_one_ranking_by_score_then_name_then_position(case: tuple) -> None:
    scores, mask, keep, _ = case
    if mask.kept == 0:
        return
    places = [(name, at) for name in mask for at in mask[name].nonzero().flatten().tolist()]
    places.sort(key=lambda place: (-float(scores[place[0]][place[1]]), *place))
    after = SCOPES["global"](scores, mask, keep, 0.0)
    assert {(n, at) for n in after for at in after[n].nonzero().flatten().tolist()} == set(places[:keep])


@pytest.mark.parametrize("scope", SCOPES)
@given(case=_cases())
@settings(max_examples=30, deadline=None)
def test_keeping_everything_changes_nothing(scope: str, case: tuple) -> None:
    scores, mask, _, floor = case
    if mask.kept:
        assert SCOPES[scope](scores, mask, mask.kept, floor) == mask


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("keep", "floor"), [(0, 0.0), (-1, 0.0), (9, 0.0), (3, 0.5)])
def test_an_unreachable_number_names_the_range(scope: str, keep: int, floor: float) -> None:
    least = 4 if floor else 1
    with pytest.raises(UserError, match=rf"{keep} of 8 weights .* {least} \(.*\) to 8 \(100"):
        SCOPES[scope](SCORES, FULL, keep, floor)


def test_the_settings_offer_every_scope() -> None:
    assert set(get_args(ScopeName)) == set(SCOPES)


def test_global_literally() -> None:
    assert _kept(SCOPES["global"](SCORES, FULL, 3, 0.0)) == {"a": [0, 2], "b": [3]}
    assert _kept(SCOPES["global"](SCORES, FULL, 6, 0.0)) == {"a": [0, 1, 2], "b": [0, 2, 3]}


def test_a_floor_takes_the_top_of_each_layer_first() -> None:
    scores = {"a": torch.tensor([9.0, 8.0, 7.0, 6.0]), "b": torch.tensor([1.0, 3.0, 2.0, 0.0])}
    assert _kept(SCOPES["global"](scores, Mask.full(scores), 4, 0.0)) == {"a": [0, 1, 2, 3], "b": []}
    assert _kept(SCOPES["global"](scores, Mask.full(scores), 4, 0.5)) == {"a": [0, 1], "b": [1, 2]}
    assert _kept(SCOPES["global"](scores, Mask.full(scores), 5, 0.25)) == {"a": [0, 1, 2, 3], "b": [1]}


def test_a_floor_is_rounded_up_from_what_is_written() -> None:
    scores = {"a": torch.arange(10.0), "b": 10 + torch.arange(90.0)}
    after = SCOPES["global"](scores, Mask.full(scores), 50, 0.1)
    assert after.layer_kept() == {"a": 1, "b": 49}  # 0.1 * 10 in binary is a hair above 1
    assert SCOPES["global"](scores, Mask.full(scores), 50, 0.11).layer_kept()["a"] == 2


def test_layerwise_keeps_the_same_share_of_every_layer_whatever_its_scores() -> None:
    scores = {"a": 100 + torch.arange(10.0), "b": torch.arange(20.0), "output": torch.arange(10.0)}
    assert SCOPES["layerwise"](scores, Mask.full(scores), 20, 0.0).layer_kept() == {
        "a": 5,
        "b": 10,
        "output": 5,
    }


def test_layerwise_gives_what_is_over_to_the_largest_remainder() -> None:
    scores = {"a": torch.arange(3.0), "b": torch.arange(3.0), "c": torch.arange(4.0)}
    assert SCOPES["layerwise"](scores, Mask.full(scores), 5, 0.0).layer_kept() == {"a": 2, "b": 1, "c": 2}


def test_layerwise_shares_the_survivors_not_the_sizes() -> None:
    mask = Mask({"a": torch.tensor([True, True, False, False]), "b": torch.ones(4, dtype=torch.bool)})
    scores = {"a": torch.arange(4.0), "b": torch.arange(4.0)}
    assert _kept(SCOPES["layerwise"](scores, mask, 3, 0.0)) == {"a": [1], "b": [2, 3]}


def test_nobody_pays_for_a_floor_twice() -> None:
    mask = Mask({"a": torch.arange(10) < 4, "b": torch.ones(10, dtype=torch.bool)})
    scores = {"a": torch.arange(10.0), "b": torch.arange(10.0)}
    assert SCOPES["layerwise"](scores, mask, 8, 0.3).layer_kept() == {"a": 3, "b": 5}


@pytest.mark.parametrize("scope", SCOPES)
def test_the_flat_index_does_not_depend_on_the_memory_format(scope: str) -> None:
    generator = torch.Generator().manual_seed(0)
    scores_OIHW = torch.randint(0, 4, (4, 3, 3, 3), generator=generator).float()
    last_OIHW = scores_OIHW.to(memory_format=torch.channels_last)
    plain = SCOPES[scope]({"a": scores_OIHW}, Mask.full({"a": scores_OIHW}), 40, 0.0)
    last = SCOPES[scope]({"a": last_OIHW}, Mask.full({"a": last_OIHW}), 40, 0.0)
    assert last == plain


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1.0])
def test_scores_that_are_not_finite_or_below_0_are_our_mistake(wrong: float) -> None:
    scores = {"a": torch.tensor([1.0, wrong])}
    with pytest.raises(AssertionError, match="not finite, or below 0"):
        SCOPES["global"](scores, Mask.full(scores), 1, 0.0)


@pytest.mark.parametrize("scope", SCOPES)
def test_what_the_mask_has_dropped_may_score_anything(scope: str) -> None:
    scores = {"a": torch.tensor([0.0, math.nan, 0.0, math.inf, 0.0, -7.0])}
    mask = Mask({"a": torch.tensor([False, False, True, False, True, False])})
    assert _kept(SCOPES[scope](scores, mask, 1, 0.0)) == {"a": [2]}


def test_counts_per_layer_may_be_zero() -> None:
    assert _kept(keep_counts(SCORES, FULL, {"a": 0, "b": 2})) == {"a": [], "b": [2, 3]}
