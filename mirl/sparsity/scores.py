"""Scores of weights: the higher the score of a weight, the longer the weight stays."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mirl.sparsity.mask import Mask

Score = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Mask], dict[str, Tensor]]
"""(trained weights, origin, mask) -> score per element of every masked parameter, finite and not below 0, where the
weights lie. Other parameters are ignored; so are the scores of elements that the mask has dropped. Sums (of
`relative` and `lamp`) are rounded otherwise on a GPU than on a CPU, so that there the last weights of a ranking
may be others."""


def magnitude(weights: Mapping[str, Tensor], origin: Mapping[str, Tensor], mask: Mask) -> dict[str, Tensor]:
    """Score by |w|, as MIR-L ranks (2510.14463)."""
    return {name: weights[name].abs() for name in mask}


def relative(weights: Mapping[str, Tensor], origin: Mapping[str, Tensor], mask: Mask) -> dict[str, Tensor]:
    """Score by |w| in units of the layer's root mean square at the origin (ours).

    One global threshold over plain magnitudes empties the layers that are initialised small. A layer whose
    origin is all zero is measured by its trained survivors instead.
    """
    return {name: weights[name].abs() / _scale(weights[name], origin[name], mask[name]) for name in mask}


def lamp(weights: Mapping[str, Tensor], origin: Mapping[str, Tensor], mask: Mask) -> dict[str, Tensor]:
    """Score by w^2 over the sum of the squares of the layer's survivors that are not smaller (2010.07611, eq. 4).

    Scores are in (0, 1]; the largest survivor of a layer has 1. Of equal magnitudes the earlier counts as larger.
    """
    return {name: _lamp(weights[name], mask[name]) for name in mask}


def random_scores(mask: Mask, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw scores uniformly in [0, 1), in name order on the CPU, so that every machine has the same ones."""
    # float64: at 33 M draws, float32 has so many ties that their order would show
    return {name: torch.rand(mask[name].shape, generator=generator, dtype=torch.float64) for name in mask}


SCORES: dict[str, Score] = {
    "magnitude": magnitude,
    "relative": relative,
    "lamp": lamp,
}


def _scale(weight: Tensor, origin: Tensor, keep: Tensor) -> float:
    for measured in (origin, weight[keep]):
        norm = float(torch.linalg.vector_norm(measured, dtype=torch.float64))
        if norm > 0:
            return norm / math.sqrt(measured.numel())
    return 1.0


def _lamp(weight: Tensor, keep: Tensor) -> Tensor:
    flat = torch.where(keep, weight.abs(), 0).flatten()
    descending, order = torch.sort(flat, descending=True, stable=True)
    squares = descending.double().square()
    not_smaller = squares.cumsum(0)
    scores = torch.empty_like(squares)
    scores[order] = torch.where(squares > 0, squares / not_smaller, 0)
    return scores.view(weight.shape)
