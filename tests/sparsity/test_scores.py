from typing import get_args

import pytest
import torch

from mirl.methods.rewind import ScoreName
from mirl.sparsity.mask import Mask
from mirl.sparsity.scope import SCOPES
from mirl.sparsity.scores import SCORES, lamp, magnitude, random_scores, relative

WEIGHTS = {"a": torch.tensor([3.0, -4.0, 0.0]), "b": torch.tensor([[0.1, -0.2]])}
ORIGIN = {"a": torch.tensor([2.0, 2.0, 2.0]), "b": torch.tensor([[0.1, -0.1]])}
FULL = Mask.full(WEIGHTS)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_is_finite_not_negative_and_leaves_its_inputs(name: str) -> None:
    weights = {**WEIGHTS, "bias": torch.ones(2)}
    before = {key: tensor.clone() for key, tensor in weights.items()}
    scores = SCORES[name](weights, ORIGIN, FULL)
    assert scores.keys() == FULL.keys()
    for key, score in scores.items():
        assert score.shape == FULL[key].shape
        assert torch.isfinite(score).all(), f"{score} is not finite"
        assert (score >= 0).all(), f"{score} is below 0: take what keeps the order, such as its exp"
        score.fill_(7)
    assert all(torch.equal(weights[key], before[key]) for key in weights)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_takes_layers_that_are_zero_or_gone(name: str) -> None:
    weights = {"dead": torch.zeros(2, 2), "gone": torch.ones(3), "one": torch.ones(())}
    mask = Mask({"dead": torch.ones(2, 2) > 0, "gone": torch.zeros(3) > 0, "one": torch.tensor(True)})
    scores = SCORES[name](weights, {key: torch.zeros_like(tensor) for key, tensor in weights.items()}, mask)
    assert all(torch.isfinite(score).all() for score in scores.values())


def test_the_settings_offer_every_score() -> None:
    assert set(get_args(ScoreName)) == set(SCORES)


def test_magnitude() -> None:
    assert magnitude(WEIGHTS, ORIGIN, FULL)["a"].tolist() == [3, 4, 0]


def test_relative_divides_by_the_scale_at_the_origin() -> None:
    scores = relative(WEIGHTS, ORIGIN, FULL)
    assert scores["a"].tolist() == pytest.approx([1.5, 2, 0])
    assert scores["b"].tolist()[0] == pytest.approx([1, 2])


def test_relative_measures_a_layer_that_starts_at_zero_by_its_survivors() -> None:
    mask = Mask({"a": torch.tensor([True, True, False])})
    scores = relative({"a": torch.tensor([3.0, -4.0, 0.0])}, {"a": torch.zeros(3)}, mask)
    assert scores["a"].tolist() == pytest.approx([3 / 12.5**0.5, 4 / 12.5**0.5, 0])


def test_lamp_literally() -> None:
    scores = lamp(WEIGHTS, ORIGIN, FULL)
    assert scores["a"].tolist() == pytest.approx([9 / 25, 1, 0])
    assert scores["b"].tolist()[0] == pytest.approx([1 / 5, 1])


def test_lamp_leaves_the_dropped_out_of_the_sum() -> None:
    mask = Mask({"a": torch.tensor([True, False, True])})
    assert lamp(WEIGHTS, ORIGIN, mask)["a"].tolist() == [1, 0, 0]


def test_lamp_counts_the_earlier_of_equals_as_larger() -> None:
    # so many that an unstable sort would mix them
    weights = {"a": torch.ones(1000) * (-1) ** torch.arange(1000)}
    scores = lamp(weights, weights, Mask.full(weights))["a"]
    assert torch.allclose(scores, 1 / torch.arange(1, 1001, dtype=torch.float64))


@pytest.mark.parametrize("name", ["relative", "lamp"])
def test_a_layer_that_starts_small_is_not_emptied(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        key: scale * torch.randn(100, generator=generator) for key, scale in [("large", 1.0), ("small", 1e-3)]
    }
    mask = Mask.full(weights)
    plain = SCOPES["global"](magnitude(weights, weights, mask), mask, 60, 0.0)
    even = SCOPES["global"](SCORES[name](weights, weights, mask), mask, 60, 0.0)
    assert plain.layer_kept()["small"] == 0
    assert even.layer_kept()["small"] > 20


def test_random_scores_come_from_the_generator_alone() -> None:
    torch.manual_seed(5)
    first = random_scores(FULL, torch.Generator().manual_seed(1))
    torch.manual_seed(6)
    second = random_scores(FULL, torch.Generator().manual_seed(1))
    other = random_scores(FULL, torch.Generator().manual_seed(2))
    assert all(torch.equal(first[name], second[name]) for name in FULL)
    assert not torch.equal(first["a"], other["a"])
