"""What several sub-networks and their router are trained on."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mirl.data.batches import Batch
from mirl.objectives import Levels, Objective, RouterFit, SoftChoice, Subnetworks
from mirl.training.subnetworks import TrainedSubnetworks
from tests.training.routed import BATCH, MASKS, make_batch, make_routed, make_routed_plan


class PatchRouter(torch.nn.Module):
    """A router of mean brightness."""

    def __init__(self, inner: torch.nn.Linear) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x_BCHW: Tensor) -> Tensor:
        scores_BK: Tensor = 8 * self.inner(x_BCHW.mean((2, 3)))
        return scores_BK


@pytest.fixture
def subnetworks() -> TrainedSubnetworks:
    plan, network = make_routed_plan(), make_routed()
    network.load_state_dict(plan.state)
    network.router = PatchRouter(network.router)  # type: ignore[assignment]
    return TrainedSubnetworks(network, plan.masks, torch.autocast("cpu", enabled=False), False)


def _gradients(
    subnetworks: TrainedSubnetworks, objective: Objective, pieces: int
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """(terms of the whole batch, gradients by name), from so many pieces."""
    subnetworks.network.zero_grad(set_to_none=True)
    parts = list(make_batch().split(BATCH // pieces))
    sums: dict[str, Any] = {}
    for part in parts:
        for name, value in objective.sums(subnetworks, part).items():
            sums[name] = sums.get(name, 0) + value.detach()
    terms: dict[str, float] = {}
    for part in parts:
        found = objective.terms(subnetworks, part, sums)
        sum(found.values(), torch.zeros(())).div(pieces).backward()
        for name, term in found.items():
            terms[name] = terms.get(name, 0.0) + float(term.detach()) / pieces
    return terms, {name: p.grad for name, p in subnetworks.network.named_parameters() if p.grad is not None}


OBJECTIVES = [Levels(MASKS), Levels(MASKS, decay=0.3), RouterFit(MASKS), SoftChoice(MASKS, 0.2, 3.0)]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: type(objective).__name__)
@pytest.mark.parametrize("pieces", [2, 4])
def test_pieces_of_a_batch_have_the_terms_and_gradients_of_the_whole(
    objective: Objective, pieces: int, subnetworks: TrainedSubnetworks
) -> None:
    terms, expected = _gradients(subnetworks, objective, 1)
    in_pieces, found = _gradients(subnetworks, objective, pieces)
    assert in_pieces == pytest.approx(terms, abs=1e-6) and expected.keys() == found.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-6), name


def test_the_levels_are_the_mean_of_their_errors(subnetworks: TrainedSubnetworks) -> None:
    batch = make_batch()
    terms = Levels(MASKS).terms(subnetworks, batch, {})
    for mask in MASKS:
        error = (subnetworks(batch.degraded_BCHW, mask) - batch.clean_BCHW).abs().mean()
        assert float(terms[f"l1_{mask}"]) == pytest.approx(float(error) / 2)


def test_fitting_the_router_trains_nothing_else(subnetworks: TrainedSubnetworks) -> None:
    _, found = _gradients(subnetworks, RouterFit(MASKS), 1)
    assert found and all(name.startswith("router.") for name in found)


def test_a_router_that_knows_the_errors_has_the_least_loss(subnetworks: TrainedSubnetworks) -> None:
    batch, objective = make_batch(), RouterFit(MASKS)
    errors_KB = torch.stack(
        [
            (subnetworks(batch.degraded_BCHW, mask) - batch.clean_BCHW).square().mean((1, 2, 3))
            for mask in MASKS
        ]
    )
    knows_BK = -10 * errors_KB.log10().mT.detach()

    class Knows(torch.nn.Module):
        def forward(self, x_BCHW: Tensor) -> Tensor:
            return knows_BK + off_BK

    subnetworks.network.router = Knows()
    off_BK = torch.zeros(BATCH, len(MASKS))
    least = float(objective.terms(subnetworks, batch, {})["gain"])
    assert least == pytest.approx(0, abs=1e-6)
    off_BK = torch.tensor([0.3, 0.0]).expand(BATCH, 2)
    assert float(objective.terms(subnetworks, batch, {})["gain"]) > least
    off_BK = torch.tensor([2.0, 2.0]).expand(BATCH, 2)  # a constant of a patch says nothing
    assert float(objective.terms(subnetworks, batch, {})["gain"]) == pytest.approx(least, abs=1e-5)


def test_a_score_is_the_mean_gain_and_not_how_often_a_level_wins() -> None:
    degraded_BCHW = torch.zeros(5, 3, 8, 8)
    clean_BCHW = torch.full_like(degraded_BCHW, 0.1)
    gain_B = torch.tensor([2.0, 2.0, -0.5, -0.5, -0.5])  # dB of the second level: more often it loses

    class Fixed(Subnetworks):
        network = torch.nn.Module()

        def __call__(self, image_BCHW: Tensor, mask: str = MASKS[0]) -> Tensor:
            error_B = 0.1 * 10 ** (-(gain_B if mask == MASKS[1] else torch.zeros(5)) / 20)
            return clean_BCHW - error_B[:, None, None, None]

        def dropped(self, mask: str) -> Tensor:
            raise NotImplementedError

    score_K = torch.nn.Parameter(torch.tensor([0.0, float(gain_B.mean())]))

    class Alike(torch.nn.Module):
        def forward(self, x_BCHW: Tensor) -> Tensor:
            return score_K.expand(5, 2)

    Fixed.network.router = Alike()
    batch = Batch(degraded_BCHW=degraded_BCHW, clean_BCHW=clean_BCHW, tasks=["a"] * 5, images=["a"] * 5)
    RouterFit(MASKS).terms(Fixed(), batch, {})["gain"].backward()
    assert gain_B.mean() > 0.4 and score_K.grad is not None
    assert torch.allclose(score_K.grad, torch.zeros(2), atol=1e-6)


def test_the_terms_about_the_choice_are_zero_for_a_sure_and_even_one(subnetworks: TrainedSubnetworks) -> None:
    class Sure(torch.nn.Module):
        def forward(self, x_BCHW: Tensor) -> Tensor:
            return scores_BK[: len(x_BCHW)]

    subnetworks.network.router = Sure()
    batch, objective = make_batch(), SoftChoice(MASKS, 1.0, 1.0)
    scores_BK = torch.tensor([[99.0, 0.0], [0.0, 99.0]] * 2)
    terms = objective.terms(subnetworks, batch, objective.sums(subnetworks, batch))
    assert float(terms["class"]) == pytest.approx(0) and float(terms["balance"]) == pytest.approx(0)
    scores_BK = torch.tensor([[99.0, 0.0]] * 4)  # one class is dead
    terms = objective.terms(subnetworks, batch, objective.sums(subnetworks, batch))
    assert float(terms["class"]) == pytest.approx(0) and float(terms["balance"]) == pytest.approx(0.5)
    scores_BK = torch.zeros(4, 2)  # nothing is sure
    terms = objective.terms(subnetworks, batch, objective.sums(subnetworks, batch))
    assert float(terms["class"]) == pytest.approx(1) and float(terms["balance"]) == pytest.approx(0)
