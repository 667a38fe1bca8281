"""Masks whose units stay or go as a whole: literal scores in, literal masks out."""

import pickle
from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from mirl.config import UserError
from mirl.sparsity.mask import Mask
from mirl.sparsity.scope import globally, layerwise
from mirl.sparsity.structure import STRUCTURES, AnyStructure, Blocks, NOfM, Structure, Unstructured

EXAMPLES: dict[str, dict[str, Any]] = {
    "unstructured": {"kind": "unstructured"},
    "blocks": {"kind": "blocks", "outputs": 2, "inputs": 2},
    "n_of_m": {"kind": "n_of_m", "m": 4},
}
"""An entry for every structure; without one its contract is not tested, and the test says so."""


def _cut(structure: Structure, scores: Any, keep: int, mask: Any = None) -> list[Any]:
    values = torch.tensor(scores, dtype=torch.float32)
    kept = torch.ones_like(values, dtype=torch.bool) if mask is None else torch.tensor(mask, dtype=torch.bool)
    found: list[Any] = (
        structure.select({"a": values}, Mask({"a": kept}), keep, globally, 0.0)["a"].int().tolist()
    )
    return found


def test_unstructured_is_what_the_scope_says() -> None:
    assert _cut(Unstructured(), [[4, 1, 3, 2]], 2) == [[1, 0, 1, 0]]


def test_blocks_stay_or_go_by_their_mean_score() -> None:
    scores = [
        [1, 1, 5, 0],
        [1, 1, 0, 0],
        [9, 0, 2, 2],
        [0, 0, 2, 2],
    ]
    kept = [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert _cut(Blocks(kind="blocks", outputs=2, inputs=2), scores, 12) == kept


def test_the_last_blocks_of_a_layer_may_be_smaller_and_are_judged_by_their_mean() -> None:
    assert _cut(Blocks(kind="blocks", outputs=1, inputs=2), [[3, 3, 4]], 2) == [[0, 0, 1]]


def test_whole_input_columns_are_blocks_of_all_outputs() -> None:
    columns = Blocks(kind="blocks", outputs="all", inputs=1)
    assert _cut(columns, [[1, 5, 1], [1, 0, 3], [1, 0, 3]], 3) == [[0, 0, 1]] * 3
    assert _cut(Blocks(kind="blocks", outputs=10**9, inputs=1), [[1, 5, 1], [1, 0, 3]], 2) == [[0, 1, 0]] * 2


def test_every_layer_keeps_its_best_blocks_where_they_are_asked_for() -> None:
    scores = {"large": torch.tensor([[9.0, 8.0, 7.0, 6.0]]), "small": torch.tensor([[1.0, 2.0]])}
    for least, small in ((0, [[False, False]]), (1, [[False, True]]), (3, [[True, True]])):
        blocks = Blocks(kind="blocks", outputs=1, inputs=1, least=least)
        found = blocks.select(scores, Mask.full(scores), 3, globally, 0.0)
        assert found["small"].tolist() == small
        assert found["large"].tolist() == [[True, True, True, False]]


def test_units_of_which_something_is_kept_are_counted() -> None:
    kept = Mask({"w": torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)})
    counts: dict[Structure, int] = {
        Unstructured(): 3,
        Blocks(kind="blocks", outputs=2, inputs=1): 2,
        Blocks(kind="blocks", outputs="all", inputs=2): 1,
        NOfM(kind="n_of_m", m=2): 3,
        NOfM(kind="n_of_m", m=2, outputs=2): 2,
    }
    for structure, count in counts.items():
        assert structure.units(kept) == count


def test_a_block_has_the_whole_kernel() -> None:
    scores = torch.zeros(2, 2, 1, 3)
    scores[1, 0, 0, 2] = 1
    found = Blocks(kind="blocks", outputs=1, inputs=1).select(
        {"a": scores}, Mask.full({"a": scores}), 3, globally, 0.0
    )
    assert found["a"].nonzero().tolist() == [[1, 0, 0, 0], [1, 0, 0, 1], [1, 0, 0, 2]]


def test_blocks_of_a_pruned_mask_are_judged_by_their_survivors() -> None:
    blocks = Blocks(kind="blocks", outputs=1, inputs=2)
    assert _cut(blocks, [[9, 9, 2, 2, 1, 1]], 2, mask=[[0, 0, 1, 1, 1, 1]]) == [[0, 0, 1, 1, 0, 0]]


def test_two_of_four_inputs_stay_for_each_output() -> None:
    scores = [[4, 1, 3, 2, 1, 2, 3, 4], [1, 1, 1, 1, 0, 9, 0, 0]]
    assert _cut(NOfM(kind="n_of_m", m=4), scores, 8) == [[1, 0, 1, 0, 0, 0, 1, 1], [1, 1, 0, 0, 1, 1, 0, 0]]


def test_a_group_of_outputs_keeps_the_same_inputs() -> None:
    scores = [[4, 1, 0, 0], [0, 2, 0, 1], [0, 0, 1, 2]]
    kept = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]
    assert _cut(NOfM(kind="n_of_m", m=4, outputs=2), scores, 6) == kept


def test_the_axis_is_that_of_the_inputs_at_each_place_of_a_kernel() -> None:
    scores = torch.tensor([[[[1.0, 8.0]], [[2.0, 7.0]]]])  # one output, two inputs, a kernel of 1 x 2
    found = NOfM(kind="n_of_m", m=2).select({"a": scores}, Mask.full({"a": scores}), 2, globally, 0.0)
    assert found["a"].int().tolist() == [[[[0, 1]], [[1, 0]]]]


def test_fewer_of_m_lie_inside_more_of_m() -> None:
    scores = {"a": torch.rand(8, 16, 3, 3, generator=torch.Generator().manual_seed(1))}
    full, structure = Mask.full(scores), NOfM(kind="n_of_m", m=8, outputs=4)
    cuts = [structure.select(scores, full, full.total * n // 8, globally, 0.0) for n in (2, 4, 6)]
    for smaller, larger in pairwise(cuts):
        assert not (smaller["a"] & ~larger["a"]).any()
    again = structure.select(scores, cuts[2], full.total // 4, globally, 0.0)
    assert again == cuts[0]


def test_a_density_that_is_not_n_of_m_is_refused() -> None:
    with pytest.raises(UserError, match="not N of 4"):
        _cut(NOfM(kind="n_of_m", m=4), [[1] * 8] * 4, 12)
    with pytest.raises(UserError, match="not N of 4"):
        _cut(NOfM(kind="n_of_m", m=4), [[1] * 8] * 4, 32)


def test_a_layer_that_m_does_not_divide_is_refused_or_left_whole() -> None:
    scores = {"a": torch.ones(2, 8), "b": torch.ones(4, 6)}
    full = Mask.full(scores)
    with pytest.raises(UserError, match="b has 6 inputs, which 4 does not divide"):
        NOfM(kind="n_of_m", m=4).select(scores, full, 20, globally, 0.0)
    found = NOfM(kind="n_of_m", m=4, indivisible="keep").select(scores, full, 20, globally, 0.0)
    assert found.layer_kept() == {"a": 8, "b": 24}


def test_less_than_one_block_is_refused() -> None:
    with pytest.raises(UserError, match="do not hold one block"):
        _cut(Blocks(kind="blocks", outputs=2, inputs=2), [[1, 2], [3, 4]], 3)


def test_every_structure_has_an_example() -> None:
    assert EXAMPLES.keys() == STRUCTURES.keys()


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("scope", [globally, layerwise])
def test_a_cut_is_a_subset_of_about_the_size_asked_for_and_the_same_each_time(kind: str, scope: Any) -> None:
    structure: Structure = TypeAdapter(AnyStructure).validate_python(EXAMPLES[kind])
    generator = torch.Generator().manual_seed(0)
    scores: dict[str, Tensor] = {
        "conv.weight": torch.rand(6, 8, 3, 3, generator=generator),
        "linear.weight": torch.rand(4, 16, generator=generator),
    }
    parent = Mask({name: score > 0.1 for name, score in scores.items()})
    keep = parent.total // 4
    found = structure.select(scores, parent, keep, scope, 0.0)
    assert all(not (found[name] & ~parent[name]).any() for name in parent)
    assert 0.7 * keep <= found.kept <= keep
    assert found == pickle.loads(pickle.dumps(structure)).select(scores, parent, keep, scope, 0.0)
