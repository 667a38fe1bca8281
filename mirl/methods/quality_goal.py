"""Goal in quality: the sparsest sub-network that loses no more than that (CPG, arXiv 1910.06562), measured on training data.

Dims: B samples, C channels, H height, W width.
"""

from dataclasses import replace
from itertools import count

import torch
from pydantic import Field

from mirl.config import Section
from mirl.methods.plan import Draw, Parent
from mirl.tickets.model import SparseModel
from mirl.tickets.routing import ByTask, PrunedQuality

SAMPLES = 256
"""Least number of training samples that a PSNR is measured on."""
SMALLEST_ERROR = 1e-8
"""Floor of a mean squared error, before its logarithm: 80 dB."""


class QualityGoal(Section):
    """Goal of a requirement that is pruned bit by bit, by several rounds, each of which is measured."""

    loss_db: float = Field(ge=0)
    """Most that pruning may cost, dB of PSNR on training samples: a round that costs more is undone, and is the last one."""
    fraction: float = Field(default=0.3, gt=0, lt=1)
    """Share of the weights that the requirement still owns, which a round removes."""

    def settled(self, name: str, parent: Parent) -> str:
        """Return why the sub-network `name` is not pruned further; empty if no round has gone too far for this goal."""
        found = _found(name, parent)
        if not (found and self._refuses(found)):
            return ""
        return f"nothing is left to do: {self._words(name, found, parent)}"

    def judged(self, name: str, belief: Parent, draw: Draw, parent: Parent) -> Parent:
        """Return `belief`, or `parent` if the round that pruned its sub-network `name` went too far, with the measurement.

        The loss is counted from the first such round's parent, the sub-network as it was grown.
        """
        found = _found(name, parent)
        if found is None:
            grown_db = psnr_db(parent.alone(name), draw)
            found = PrunedQuality(grown_db=grown_db, kept_db=grown_db)
        now_db = psnr_db(belief.alone(name), draw)
        is_lost = round(found.grown_db - now_db, 4) > self.loss_db
        found = found.model_copy(update={"refused_db" if is_lost else "kept_db": now_db})
        assert isinstance(belief.routing, ByTask)
        routing = belief.routing.model_copy(update={"pruned": {**belief.routing.pruned, name: found}})
        if not is_lost:
            return replace(belief, routing=routing)
        return replace(parent, routing=routing, undone=f"undone, {self._words(name, found, parent)}")

    def _refuses(self, found: PrunedQuality) -> bool:
        return found.refused_db is not None and round(found.grown_db - found.refused_db, 4) > self.loss_db

    def _words(self, name: str, found: PrunedQuality, parent: Parent) -> str:
        assert found.refused_db is not None
        return (
            f"{name} owns {parent.masks.own(name).density:.2%} of all weights, and pruned further it loses "
            f"{found.grown_db - found.refused_db:.4f} dB, more than its goal of {self.loss_db:g}"
        )


def psnr_db(model: SparseModel, draw: Draw) -> float:
    """Return the mean over samples of the PSNR of the model's network, clamped to [0, 1], in steps of 0.0001 dB.

    No machine's rounding shows in such steps, so that it can stand in a ticket.
    """
    network = model.built().eval()
    found: list[float] = []
    with torch.no_grad():
        for number in count():
            batch = draw(number)
            restored_BCHW = network(batch.degraded_BCHW).clamp(0, 1)
            error_B = (restored_BCHW.double() - batch.clean_BCHW.double()).square().mean((1, 2, 3))
            found += (-10 * error_B.clamp(min=SMALLEST_ERROR).log10()).tolist()
            if len(found) >= SAMPLES:
                break
    return round(sum(found) / len(found), 4)


def _found(name: str, parent: Parent) -> PrunedQuality | None:
    """Return what earlier rounds have measured of the sub-network `name`; None: nothing."""
    assert isinstance(parent.routing, ByTask)
    return parent.routing.pruned.get(name)
