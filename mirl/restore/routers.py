"""Routers: choice of the sub-network that restores an image or each patch of it, for each kind of routing in a ticket."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mirl.config import UserError
from mirl.restore.patches import PatchLevels
from mirl.tickets.routing import ByDifficulty, ByTask, ByWork, Routing, Static

MOST_TOLD = 12
"""Largest number of tasks that a message names."""
LEEWAY = 5e-4
"""Difference by which the work may be below the least there is: numbers are printed rounded."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Request for a restoration: what the caller says of the image and of the effort."""

    task: str = ""
    """Restoration task, for a ticket that has to be told."""
    work: float | None = None
    """Share, in (0, 1], of the work of the largest sub-network; None: what is usual for the ticket."""


@dataclass(frozen=True)
class OneMask:
    """Choice of one sub-network for the whole image."""

    mask: str


@dataclass(frozen=True)
class EachPatch:
    """Choice that is left to the ticket's router, for each patch, at a price of the work."""

    routing: ByDifficulty
    price: float


Chosen = OneMask | PatchLevels
"""What restores an image: one sub-network, or one for each patch."""
Choice = Chosen | EachPatch
"""What restores an image, or that the ticket's router has to choose it."""
Router = Callable[[Any, Sequence[str], Request], Choice]
"""(routing, names of the masks, request) -> choice. Raises UserError if the request cannot be met."""


def static(routing: Static, masks: Sequence[str], request: Request) -> Choice:
    """Return the first mask, whatever the request."""
    return OneMask(masks[0])


def by_task(routing: ByTask, masks: Sequence[str], request: Request) -> Choice:
    """Return the mask of the task. Raises UserError if no task is given, or the task is not in the routing."""
    known = _named(list(routing.tasks))
    if not request.task:
        raise UserError(f"this ticket has to be told what to undo; name a task: {known}")
    if request.task not in routing.tasks:
        raise UserError(f"this ticket does not undo {reprlib.repr(request.task)}; its tasks are {known}")
    return OneMask(routing.tasks[request.task])


def by_work(routing: ByWork, masks: Sequence[str], request: Request) -> Choice:
    """Return the largest sub-network within the work, by default the largest of all.

    Raises UserError if the work is less than that of the smallest.
    """
    wanted = _within(routing.works, 1.0 if request.work is None else request.work)
    fitting = [mask for mask in routing.masks(masks) if routing.levels[mask] <= wanted]
    return OneMask(fitting[-1])


def by_difficulty(routing: ByDifficulty, masks: Sequence[str], request: Request) -> Choice:
    """Return the choice of the router at the price of the work; for the least and the most work one sub-network.

    Raises UserError if the work is less than that of the smallest sub-network.
    """
    wanted = _within(routing.works, routing.work if request.work is None else request.work)
    least, *_, most = routing.masks(masks)
    if wanted in (routing.works[0], routing.works[-1]):
        return OneMask(most if wanted == routing.works[-1] else least)
    return EachPatch(routing, routing.price(wanted))


def _within(works: Sequence[float], wanted: float) -> float:
    """Return the work to do: what is wanted, but not less than the least. Raises UserError if it is out of range."""
    least = works[0]
    if not least - LEEWAY <= wanted <= 1:
        raise UserError(
            f"the work is {wanted:g}, expected a share from {least:.3g} to 1 of what this ticket's largest sub-network takes"
        )
    return max(wanted, least)


def _named(tasks: list[str]) -> str:
    """List the tasks in words, at most MOST_TOLD of them: a ticket may name thousands."""
    more = f" and {len(tasks) - MOST_TOLD} more" if len(tasks) > MOST_TOLD else ""
    return ", ".join(tasks[:MOST_TOLD]) + more


ROUTERS: Mapping[str, Router] = {
    "static": static,
    "task": by_task,
    "work": by_work,
    "difficulty": by_difficulty,
}
"""`kind` of a routing -> its router."""


def chosen(routing: Routing, masks: Sequence[str], request: Request) -> Choice:
    """Return the choice of the routing's router. Raises UserError if the request cannot be met."""
    return ROUTERS[routing.kind](routing, masks, request)


def usual(routing: Routing, masks: Sequence[str]) -> Choice:
    """Return the choice for an image with an empty request; of a ticket that has to be told its task, for the first."""
    task = next(iter(routing.tasks)) if isinstance(routing, ByTask) else ""
    return chosen(routing, masks, Request(task=task))


def work_of(routing: Routing, choice: Chosen, size: tuple[int, int]) -> float:
    """Return the share of the largest sub-network's work that an image of `size` (height, width) takes by that choice.

    It is 1 if the routing does not tell the sub-networks apart by their work.
    """
    if not isinstance(routing, ByWork | ByDifficulty):
        return 1.0
    return routing.levels[choice.mask] if isinstance(choice, OneMask) else choice.work(size, routing.works)


def for_whole_images(routing: Routing, masks: Sequence[str], request: Request) -> str:
    """Return the mask of the one sub-network that restores whole images within the request, as an export holds it.

    Of those that a router chooses among it is the largest within the work, by default the largest. Raises UserError as
    `chosen`.
    """
    if isinstance(routing, ByDifficulty):
        routing = ByWork(kind="work", levels=routing.levels)
    choice = chosen(routing, masks, request)
    assert isinstance(choice, OneMask)
    return choice.mask
