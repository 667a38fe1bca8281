"""Routing: the data by which `mirl.restore.routers` chooses the mask of a model at run time."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mirl.config import Section
from mirl.names import Name
from mirl.sparsity.masks import Masks


class Routing(Section):
    """The routing in a ticket's header. A reader refuses kinds that are not in ROUTINGS."""

    kind: str
    told: ClassVar[bool] = False
    """True if the mask is that of a task which somebody names: such a ticket has it easier than a blind one."""
    has_works: ClassVar[bool] = False
    """True if the masks differ in their work, of which somebody may ask for a share."""

    @abstractmethod
    def masks(self, known: Sequence[str]) -> Sequence[str]:
        """Return the masks that the routing chooses among, of those that the model has."""

    @abstractmethod
    def serves(self, task: str) -> bool:
        """Return whether there is a mask for that restoration task."""

    @property
    def told_tasks(self) -> dict[str, list[str]]:
        """Tasks of each mask that is chosen by the task that is told, in the order of the tasks; empty if none is."""
        return {}

    def words(self) -> str:
        """Describe the routing for people."""
        return self.kind


class Static(Routing):
    """Routing to the one mask, for every image."""

    kind: Literal["static"] = "static"

    def masks(self, known: Sequence[str]) -> Sequence[str]:
        return known

    def serves(self, task: str) -> bool:
        return True


class PrunedQuality(Section):
    """Quality of a sub-network that is pruned towards a goal in dB: mean PSNR on training samples that no training drew."""

    grown_db: float
    """PSNR before the first round that pruned it: that of the whole it was cut from."""
    kept_db: float
    """PSNR as it is."""
    refused_db: float | None = Field(default=None, exclude_if=lambda refused: refused is None)
    """PSNR pruned further, which lost more than the goal allowed and was undone; None: nothing was undone."""

    def words(self) -> str:
        """Say what pruning has cost."""
        lost = f"pruned at a loss of {self.grown_db - self.kept_db:.2f} dB"
        refused = self.refused_db
        return lost if refused is None else f"{lost}, not further at one of {self.grown_db - refused:.2f} dB"


class ByTask(Routing):
    """Routing to the mask of the restoration task that is asked for; who restores names the task."""

    kind: Literal["task"]
    told: ClassVar[bool] = True
    tasks: dict[Name, Name] = Field(min_length=1)
    """Restoration task -> name of its mask; other tasks are refused."""
    pruned: dict[Name, PrunedQuality] = Field(default={}, exclude_if=lambda pruned: not pruned)
    """Name of a mask -> its quality; only of those that were pruned towards a goal in dB."""

    def masks(self, known: Sequence[str]) -> Sequence[str]:
        return list(dict.fromkeys(self.tasks.values()))

    def serves(self, task: str) -> bool:
        return task in self.tasks

    @property
    def told_tasks(self) -> dict[str, list[str]]:
        return {mask: [task for task in self.tasks if self.tasks[task] == mask] for mask in self.masks(())}

    def words(self) -> str:
        pruned = {mask: f" ({quality.words()})" for mask, quality in self.pruned.items()}
        return "by task: " + "; ".join(
            f"{mask} for {', '.join(named)}{pruned.get(mask, '')}" for mask, named in self.told_tasks.items()
        )

    @model_validator(mode="after")
    def _of_its_masks(self) -> Self:
        if odd := sorted(set(self.pruned) - set(self.tasks.values())):
            raise ValueError(f"`pruned` names the mask {odd[0]}, which serves no task")
        return self


Work = Annotated[float, Field(gt=0, le=1)]
"""Share of the multiply-accumulates of the largest sub-network, in (0, 1]."""


class _Levels(Routing):
    """Routing among sub-networks that differ in their work."""

    has_works: ClassVar[bool] = True
    levels: dict[Name, Work] = Field(min_length=2)
    """Name of each mask -> its work; no two are the same, and the largest is 1."""

    def masks(self, known: Sequence[str]) -> Sequence[str]:
        """Return the masks from the least work to the most, whatever their order in the file."""
        return sorted(self.levels, key=self.levels.__getitem__)

    @property
    def works(self) -> list[float]:
        """Work of each sub-network, rising."""
        return sorted(self.levels.values())

    def serves(self, task: str) -> bool:
        return True

    @property
    def by_level(self) -> str:
        """Words for the work of each sub-network."""
        return ", ".join(f"{mask} {self.levels[mask]:.0%}" for mask in self.masks(()))

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.works)) < len(self.works) or self.works[-1] != 1:
            raise ValueError(
                f"the work of the levels is {self.works[:16]}, expected different numbers up to 1"
            )
        return self


class ByWork(_Levels):
    """Routing to the largest sub-network within the work that is asked for, the same for the whole image."""

    kind: Literal["work"]

    def words(self) -> str:
        return f"by work: {self.by_level}"


def by_weights(masks: Masks) -> ByWork:
    """Return the routing among sub-networks by their shares of the weights, until their work is counted."""
    return ByWork(kind="work", levels={name: mask.kept / masks.union.kept for name, mask in masks.items()})


class Point(Section):
    """Point of the curve: the work that patches take at a price."""

    price: float
    """Gain in score that is worth all of the work of the largest sub-network."""
    work: Work
    """Mean work over the patches."""
    shares: list[Annotated[float, Field(ge=0, le=1)]]
    """Share of the patches that each sub-network restores."""


Unit = Literal["patch", "image"]


class ByDifficulty(_Levels):
    """Routing by a router, of every patch of an image or of the whole image, at the price of the work that is asked for.

    A patch goes through the sub-network whose score, less the price times its work, is the largest.
    """

    kind: Literal["difficulty"]
    patch: int = Field(ge=8, le=2**15)
    """Side of a patch, pixels."""
    curve: list[Point] = Field(min_length=2, max_length=1024)
    """Price of each share of work, as it was found on training samples: work rises and the price falls."""
    unit: Unit = Field(default="patch", exclude_if=lambda unit: unit == "patch")
    """What is restored by one sub-network: a patch, or the whole image, by the mean of its patches' scores."""
    work: Work
    """Share of the work that is done if nobody asks for another."""

    def price(self, work: float) -> float:
        """Return the price at which `work` is done, linear between the points of the curve."""
        for before, after in pairwise(self.curve):
            if work <= after.work:
                share = max(0.0, work - before.work) / (after.work - before.work)
                return before.price + share * (after.price - before.price)
        return self.curve[-1].price

    def words(self) -> str:
        what = f"patches of {self.patch} pixels" if self.unit == "patch" else "whole images"
        return f"by difficulty, {what}, {self.work:.0%} of the work: {self.by_level}"

    @model_validator(mode="after")
    def _falls(self) -> Self:
        steps = [
            (after.work - before.work, before.price - after.price) for before, after in pairwise(self.curve)
        ]
        if min(min(step) for step in steps) <= 0:
            raise ValueError("the points of the curve must rise in work and fall in price")
        if any(len(point.shares) != len(self.levels) for point in self.curve):
            raise ValueError(f"a point of the curve has not one share for each of {len(self.levels)} levels")
        return self


ROUTINGS: dict[str, type[Routing]] = {
    "static": Static,
    "task": ByTask,
    "work": ByWork,
    "difficulty": ByDifficulty,
}
"""`kind` of a routing -> its section."""


def refuse_other_router(routing: Routing, outputs: int) -> None:
    """Raise ValueError unless a router with so many outputs, 0 if there is none, chooses among the routing's levels."""
    if isinstance(routing, ByDifficulty) and outputs != len(routing.levels):
        raise ValueError(
            f"the router has {outputs} outputs, expected {len(routing.levels)}, one for each level"
        )


def refuse_other_scales(routing: Routing, heads: Mapping[str, int]) -> None:
    """Raise ValueError if masks run heads of different scales, and no task says which of them is asked for."""
    if len(set(heads.values())) > 1 and not isinstance(routing, ByTask):
        raise ValueError(
            f"the routing {routing.kind} chooses among sub-networks that enlarge by {sorted(set(heads.values()))}, expected "
            "the routing task"
        )


def refuse_other_masks(routing: Routing, known: Sequence[str]) -> None:
    """Raise ValueError unless the masks that the routing chooses among are exactly those that are `known`."""
    if isinstance(routing, Static) and len(known) > 1:
        raise ValueError(f"the routing static has one mask to choose, got {len(known)}")
    chosen = routing.masks(known)
    if odd := sorted(set(chosen) - set(known)):
        raise ValueError(f"the routing chooses the mask {odd[0]}, which is not there")
    if odd := sorted(set(known) - set(chosen)):
        raise ValueError(f"the routing never chooses the mask {odd[0]}")
