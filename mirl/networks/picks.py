"""Picks: one score for each block of a network's prunable weights, learned beside them (Piggyback, arXiv 1801.06519)."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn

from mirl.config import Section

PICKS = "picks."
"""Beginning of the names of the picks' parameters in a network's state."""
FIRST, THRESHOLD = 1e-2, 5e-3
"""Score with which every block begins, and score from which a block is picked, as in Piggyback."""


class PicksSection(Section):
    """Sides of the blocks of which each has a score."""

    outputs: int | None = Field(default=4, ge=1)
    """Number of neighbouring outputs; None: all."""
    inputs: int = Field(default=4, ge=1)
    """Number of neighbouring inputs."""

    def first(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the scores with which the blocks of `weights` begin, by the names that they have in the state."""
        return {
            f"{PICKS}{_key(name)}": torch.full(self._shape(weight), FIRST) for name, weight in weights.items()
        }

    def _shape(self, weight: Tensor) -> tuple[int, int]:
        outputs, inputs = weight.shape[:2] if weight.ndim > 1 else (1, len(weight))
        return -(-outputs // (self.outputs or outputs)), -(-inputs // self.inputs)


class Picks(nn.Module):
    """The scores. The network does not look at them: who runs it takes away what is not picked."""

    def __init__(self, section: PicksSection, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.section = section
        for name, scores in section.first(weights).items():
            self.register_parameter(name.removeprefix(PICKS), nn.Parameter(scores))

    def of(self, weight: str) -> Tensor:
        """Return 1 for each block of that weight that is picked and 0 for the others: outputs x inputs, in blocks.

        The gradient is handed to the scores as if they were the result (the straight-through estimator).
        """
        picked: Tensor = _StraightThrough.apply(self.get_parameter(_key(weight)))  # type: ignore[no-untyped-call]
        return picked


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, scores: Tensor) -> Tensor:
        return (scores >= THRESHOLD).to(scores.dtype)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient


def picked(scores: Mapping[str, Tensor], weight: str) -> Tensor:
    """Return True for each block of that weight that the scores in a state pick: outputs x inputs, in blocks."""
    return scores[f"{PICKS}{_key(weight)}"] >= THRESHOLD


def without_picks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of the network without the scores."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(PICKS)}


def _key(name: str) -> str:
    """Return the name of a weight without dots, which separate modules."""
    return name.replace(".", "/")
