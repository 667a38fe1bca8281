"""Stopping rule of early-bird tickets (1909.11957), on single weights: a round ends when its ranking has settled.

Legend: L checks, N bytes of a packed mask.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field

from mirl.config import Section
from mirl.methods.plan import StoppingRule
from mirl.sparsity.mask import Mask, State


class EarlyBirdSection(Section):
    """Settings of the checks: how often, and how much the mask may still change. The paper checks once an epoch."""

    every_steps: int = Field(ge=1)
    """Optimiser steps from one check to the next."""
    looks: int = Field(default=5, ge=1)
    """Number of earlier checks whose masks must agree with the present one."""
    distance: float = Field(default=0.1, gt=0, lt=1)
    """Largest share of the survivors, in (0, 1), in which two such masks may differ (the paper: of all channels)."""


@dataclass(frozen=True)
class EarlyBird(StoppingRule):
    """Stopping rule that remembers the masks that the next round would have had at the last checks."""

    section: EarlyBirdSection
    mask: Mask
    """Mask of the present training."""
    cut: Callable[[State], Mask]
    """Weights -> the mask that would be cut from them next."""

    @property
    def every_steps(self) -> int:  # type: ignore[override]
        return self.section.every_steps

    def check(self, weights: State, seen: State) -> tuple[State, bool]:
        now_N = _packed(self.cut(weights))
        before_LN = seen["masks"].numpy() if seen else np.empty((0, now_N.size), np.uint8)
        changed = np.bitwise_count(before_LN ^ now_N).sum(axis=1, dtype=np.int64)
        enough = (
            len(changed) == self.section.looks and changed.max() <= self.section.distance * self.mask.kept
        )
        latest_LN = np.concatenate([before_LN, now_N[None]])[-self.section.looks :]
        return {"masks": torch.from_numpy(latest_LN)}, bool(enough)


def _packed(mask: Mask) -> np.ndarray:
    return np.concatenate([np.packbits(keep.numpy().reshape(-1)) for keep in mask.values()])
