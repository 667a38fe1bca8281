"""Routers: choice of the sub-network that restores an image, for each kind of routing in a ticket."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mirl.config import UserError
from mirl.tickets.routing import ByTask, Routing, Static

MOST_TOLD = 12
"""Largest number of tasks that a message names."""
Router = Callable[[Any, Sequence[str], str], str]
"""(routing, names of the masks, requested restoration task or "") -> name of the mask.

Raises UserError if there is no mask for that task.
"""


def static(routing: Static, masks: Sequence[str], task: str) -> str:
    """Return the first mask, whatever the task."""
    return masks[0]


def by_task(routing: ByTask, masks: Sequence[str], task: str) -> str:
    """Return the mask of the task. Raises UserError if no task is given, or the task is not in the routing."""
    known = _named(list(routing.tasks))
    if not task:
        raise UserError(f"this ticket has to be told what to undo; name a task: {known}")
    if task not in routing.tasks:
        raise UserError(f"this ticket does not undo {reprlib.repr(task)}; its tasks are {known}")
    return routing.tasks[task]


def _named(tasks: list[str]) -> str:
    """List the tasks in words, at most MOST_TOLD of them: a ticket may name thousands."""
    more = f" and {len(tasks) - MOST_TOLD} more" if len(tasks) > MOST_TOLD else ""
    return ", ".join(tasks[:MOST_TOLD]) + more


ROUTERS: Mapping[str, Router] = {"static": static, "task": by_task}
"""`kind` of a routing -> its router."""


def chosen(routing: Routing, masks: Sequence[str], task: str) -> str:
    """Return the name of the mask that restores an image. Raises UserError as the routing's router does."""
    return ROUTERS[routing.kind](routing, masks, task)
