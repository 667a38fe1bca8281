"""What chooses the sub-network that restores an image, for each kind of routing in a ticket."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mirl.config import UserError
from mirl.tickets.routing import ByTask, Routing, Static

MOST_TOLD = 12
"""Tasks that a message names."""
Router = Callable[[Any, Sequence[str], str], str]
"""(routing, names of the masks, restoration task that is asked for or "") -> name of the mask. Raises UserError if there is
none for that task."""


def static(routing: Static, masks: Sequence[str], task: str) -> str:
    """The only one, whatever is asked for."""
    return masks[0]


def by_task(routing: ByTask, masks: Sequence[str], task: str) -> str:
    """That of the task; without one there is nothing to choose by."""
    known = _named(list(routing.tasks))
    if not task:
        raise UserError(f"this ticket has to be told what to undo; name a task: {known}")
    if task not in routing.tasks:
        raise UserError(f"this ticket does not undo {reprlib.repr(task)}; its tasks are {known}")
    return routing.tasks[task]


def _named(tasks: list[str]) -> str:
    """The tasks, as many of them as fit into a sentence: a ticket may name thousands."""
    more = f" and {len(tasks) - MOST_TOLD} more" if len(tasks) > MOST_TOLD else ""
    return ", ".join(tasks[:MOST_TOLD]) + more


ROUTERS: Mapping[str, Router] = {"static": static, "task": by_task}
"""`kind` of a routing -> what chooses by it."""


def chosen(routing: Routing, masks: Sequence[str], task: str) -> str:
    """The name of the mask that restores an image. Raises UserError as the routing's router."""
    return ROUTERS[routing.kind](routing, masks, task)
