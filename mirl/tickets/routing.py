"""Which mask of a model is used at run time: data alone; what chooses by it is `mirl.restore.routers`."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from mirl.config import Section
from mirl.names import Name


class Routing(Section):
    """The routing in a ticket's header. A reader refuses kinds that are not in ROUTINGS."""

    kind: str

    @abstractmethod
    def masks(self, known: Sequence[str]) -> Sequence[str]:
        """The masks that it chooses among, of those that the model has."""

    @abstractmethod
    def serves(self, task: str) -> bool:
        """Whether there is a mask for that restoration task."""

    def words(self) -> str:
        """What it does, for people."""
        return self.kind


class Static(Routing):
    """The one mask, for every image."""

    kind: Literal["static"] = "static"

    def masks(self, known: Sequence[str]) -> Sequence[str]:
        return known

    def serves(self, task: str) -> bool:
        return True


class ByTask(Routing):
    """The mask of the restoration task that is asked for: who restores says which it is."""

    kind: Literal["task"]
    tasks: dict[Name, Name] = Field(min_length=1)
    """Restoration task -> name of its mask; other tasks are refused."""

    def masks(self, known: Sequence[str]) -> Sequence[str]:
        return list(dict.fromkeys(self.tasks.values()))

    def serves(self, task: str) -> bool:
        return task in self.tasks

    def words(self) -> str:
        tasks = {mask: [task for task in self.tasks if self.tasks[task] == mask] for mask in self.masks(())}
        return "by task: " + "; ".join(f"{mask} for {', '.join(named)}" for mask, named in tasks.items())


ROUTINGS: dict[str, type[Routing]] = {"static": Static, "task": ByTask}
"""`kind` of a routing -> its section."""


def refuse_other_masks(routing: Routing, known: Sequence[str]) -> None:
    """Raises ValueError unless the masks that the routing chooses among are those that are `known`, all of them."""
    if isinstance(routing, Static) and len(known) > 1:
        raise ValueError(f"the routing static has one mask to choose, got {len(known)}")
    chosen = routing.masks(known)
    if odd := sorted(set(chosen) - set(known)):
        raise ValueError(f"the routing chooses the mask {odd[0]}, which is not there")
    if odd := sorted(set(known) - set(chosen)):
        raise ValueError(f"the routing never chooses the mask {odd[0]}")
