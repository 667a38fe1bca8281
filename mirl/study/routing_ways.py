"""Ways in which a ticket restores the test images: what restores each of them, known before any is restored.

Dims: B batch, C channels, H height, W width; R rows and Q columns of patches; N patches of all test images,
K sub-networks from the least work to the most.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mirl.data.tasks import Task
from mirl.evaluation.protocols import Protocol, prepare
from mirl.evaluation.routing import BOUNDS, ROUTER, STATIC, Observed, gradient_of_patches, psnr_of_patches
from mirl.evaluation.scoring import TestImage, restored
from mirl.restore.patches import PatchLevels
from mirl.restore.restorer import Restorer
from mirl.restore.routers import Choice, OneMask, Request, chosen, usual
from mirl.study.study import ImageBar
from mirl.tickets.routing import ByDifficulty, ByWork
from mirl.tickets.ticket import Ticket

SEED = 0
"""Of the levels that are drawn by chance."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A ticket that is ready to restore."""

    name: str
    ticket: Ticket
    restorer: Restorer
    largest: float
    """Work of its largest sub-network, as a share of the dense network's."""

    @property
    def masks(self) -> list[str]:
        """Names of its sub-networks, from the least work to the most if they differ in it."""
        return list(self.ticket.routing.masks(list(self.ticket.masks)))

    def restored(self, choice: Choice, degraded_HWC: np.ndarray, task: Task) -> tuple[np.ndarray, float]:
        """Return (the restored image, the share of the dense network's work that was done)."""
        done: list[float] = []

        def restore(image_BCHW: Tensor, task: str) -> Tensor:
            restored_BCHW, share = self.restorer.restored_by(choice, image_BCHW)
            done.append(share * self.largest)
            return restored_BCHW

        return restored(restore, degraded_HWC, task), done[0]


@dataclass(frozen=True, kw_only=True)
class Way:
    """What restores each image, and the levels of its patches if they are those of one ticket's router."""

    entrant: Entrant
    way: str
    budget: float
    choices: Sequence[Choice]
    levels: Sequence[PatchLevels | None]


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What is known of the patches of one image before it is restored."""

    levels: Sequence[PatchLevels]
    """Those of the router, for each budget."""
    gradient_RQ: np.ndarray
    psnr_RQK: np.ndarray
    patch: int

    def like(self, level_N: np.ndarray) -> PatchLevels:
        """Return other levels for the same patches."""
        return PatchLevels(torch.from_numpy(level_N.reshape(self.gradient_RQ.shape)), self.patch)


def ways_of(
    entrant: Entrant,
    images: Sequence[TestImage],
    budgets: Sequence[float],
    protocol: Protocol,
    should_stop: Callable[[], bool],
) -> Iterator[Way]:
    """Yield every way of a ticket; one that routes by difficulty looks at all images first.

    `budgets`: the shares of the largest sub-network's work that its router is asked for.
    """
    routing, many = entrant.ticket.routing, len(images)
    if not isinstance(routing, ByDifficulty):
        works = routing.levels if isinstance(routing, ByWork) else {}
        for mask in entrant.masks:
            choice = OneMask(mask) if works else usual(routing, entrant.masks)
            budget = works.get(mask, 1.0)
            yield Way(
                entrant=entrant, way=STATIC, budget=budget, choices=[choice] * many, levels=[None] * many
            )
        return
    looks = []
    with ImageBar(f"levels of {entrant.name}", should_stop) as bar:
        for item in images:
            looks.append(_look(entrant, routing, item, budgets, protocol))
            bar(len(looks), many)
    for level, mask in enumerate(entrant.masks):
        alike = [look.like(np.full(look.gradient_RQ.size, level)) for look in looks]
        one = [OneMask(mask)] * many
        yield Way(entrant=entrant, way=STATIC, budget=routing.levels[mask], choices=one, levels=alike)
    observed = Observed(
        work_K=np.array(routing.works),
        gradient_N=np.concatenate([look.gradient_RQ.ravel() for look in looks]),
        psnr_NK=np.concatenate([look.psnr_RQK.reshape(-1, len(entrant.masks)) for look in looks]),
    )
    for place, budget in enumerate(budgets):
        own = [look.levels[place] for look in looks]
        choice = chosen(routing, entrant.masks, Request(work=budget))
        yield Way(entrant=entrant, way=ROUTER, budget=budget, choices=[choice] * many, levels=own)
        level_N = np.concatenate([levels.level_RQ.numpy().ravel() for levels in own])
        for name, bound in BOUNDS.items():
            other_N = bound(observed, level_N, np.random.default_rng(SEED))
            parts = np.split(other_N, np.cumsum([look.gradient_RQ.size for look in looks])[:-1])
            other = [look.like(part) for look, part in zip(looks, parts)]
            yield Way(entrant=entrant, way=name, budget=budget, choices=other, levels=other)


def _look(
    entrant: Entrant, routing: ByDifficulty, item: TestImage, budgets: Sequence[float], protocol: Protocol
) -> _Look:
    degraded_HWC, clean_HWC = pair_of(item, protocol)
    side = routing.patch * item.task.scale
    image_BCHW = torch.from_numpy(degraded_HWC).permute(2, 0, 1)[None]
    levels = [entrant.restorer.levels(image_BCHW, work=budget) for budget in budgets]
    outputs = (entrant.restored(OneMask(mask), degraded_HWC, item.task)[0] for mask in entrant.masks)
    return _Look(
        levels=[each for each in levels if each is not None],
        gradient_RQ=gradient_of_patches(degraded_HWC, routing.patch),
        psnr_RQK=np.stack(
            [psnr_of_patches(protocol.finish(output), clean_HWC, side) for output in outputs], -1
        ),
        patch=routing.patch,
    )


def pair_of(item: TestImage, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Return (input, clean) of an image as the protocol makes them."""
    return prepare(protocol, item.image, item.task, item.clean_HWC, item.degraded_HWC)
