"""The `data` and `batches` parts of params.yaml."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from mirl.config import Section, UserError
from mirl.data.tasks import DEFAULT_SECTIONS, Table, Task, TaskSections
from mirl.data.tasks import table as table_of

Split = Literal["train", "val", "test"]
PHOTOGRAPHS = "denoise"
"""Folder of the clean photographs in the MIR-L authors' layout."""


class SkimageSource(Section):
    """The colour photographs inside the scikit-image wheel; nothing is downloaded."""

    kind: Literal["skimage"]
    photographs: str = "photographs.csv"
    """Table of the photographs: file, part, split, and the SHA-256 digest that the pixels must have."""


class FolderSource(Section):
    """A folder of clean photographs."""

    kind: Literal["folder"]
    path: str
    split: Split


class PairsSource(Section):
    """Degraded pictures in one folder, their clean partners in another.

    Partners have the same stem, or `NAME_rainy`, `NAME_hazy`, `NAME_input` beside `NAME_gt`, `NAME_clean`,
    `NAME_target`; for haze also RESIDE's `NAME_A_BETA` beside `NAME`.
    """

    kind: Literal["pairs"]
    input: str
    target: str
    split: Split
    task: str
    """Name of the paired task of the study that the pairs belong to."""


class MirlSource(Section):
    """The MIR-L authors' layout: SPLIT/denoise/SET/*, and SPLIT/TASK/SET/{input,target} for every paired task."""

    kind: Literal["mirl"]
    path: str = "."


Source = Annotated[SkimageSource | FolderSource | PairsSource | MirlSource, Field(discriminator="kind")]


class DataSection(Section):
    """Sources of the photographs; the paths of the sources are relative to `root`."""

    root: str
    sources: dict[str, Source] = Field(min_length=1)
    leaks: Literal["refuse", "leave_out", "allow"] = "refuse"
    """Handling of a picture that is in both train and test: stop; or warn and leave it out of training; or warn and
    train on it, as the usual published split does."""
    tasks: TaskSections = DEFAULT_SECTIONS
    """All tasks of the study, by name; by default the five of the MIR-L paper."""
    synthesise: list[str] | None = None
    """Tasks whose test pairs are made, seeded, from clean test photographs if no source brings any; by default all
    that can be made."""

    @property
    def table(self) -> Table:
        """The study's tasks."""
        return table_of(self.tasks)

    @property
    def made(self) -> list[Task]:
        """The tasks whose test pairs are made: those of `synthesise`, by default all that can be made."""
        table = self.table
        able = [name for name, task in table.items() if task.testing]
        return [table[name] for name in (able if self.synthesise is None else self.synthesise)]

    @model_validator(mode="after")
    def _tasks_are_known(self) -> Self:
        table = self.table
        paired = [name for name, task in table.items() if task.paired]
        able = [name for name, task in table.items() if task.testing]
        for name, source in self.sources.items():
            if isinstance(source, PairsSource) and source.task not in paired:
                raise ValueError(
                    f"`sources.{name}.task` is {source.task!r}, which is no paired task of the study; "
                    f"those are {', '.join(paired) or 'none'}"
                )
            if isinstance(source, MirlSource) and PHOTOGRAPHS in paired:
                raise ValueError(
                    f"a paired task is called {PHOTOGRAPHS!r}, but source {name!r} has photographs in folders of "
                    "that name; call the task otherwise"
                )
        for name in self.synthesise or []:
            if name not in able:
                raise ValueError(
                    f"`synthesise` has {name!r}, which is no task whose test pictures can be made; "
                    f"those are {', '.join(able) or 'none'}"
                )
        return self


class BatchSection(Section):
    """Settings for drawing training batches."""

    batch: int = Field(default=8, ge=1)
    patch: int = Field(default=64, ge=8)
    """Side of the square patches that the network gets, pixels; the clean ones are `scale` times as large for a task that
    enlarges."""
    balance: dict[str, float] = Field(default={})
    """Share of each task in the samples, in any unit; if empty, all shares are equal; a task left out is not
    trained."""
    synthetic: dict[str, float] = Field(default={})
    """Share, in [0, 1], of a task's samples that is degraded on the fly from clean photographs instead of read from
    pairs; 0 for a task that is not named, always 1 for a task without pairs."""

    def only(self, tasks: Sequence[str]) -> Self:
        """Return the same draw of `tasks` alone, in the shares they have among themselves; if empty, of all tasks.

        Tasks that have no share are drawn equally often, if none of the others has one.
        """
        if not tasks:
            return self
        shares = {task: self.balance.get(task, 0.0) for task in tasks}
        return self.model_copy(
            update={"balance": shares if any(shares.values()) else dict.fromkeys(tasks, 1.0)}
        )

    @field_validator("balance", "synthetic")
    @classmethod
    def _not_negative(cls, shares: dict[str, float]) -> dict[str, float]:
        for task, share in shares.items():
            if not 0 <= share < float("inf"):
                raise ValueError(f"the share of {task} is {share}; expected a number from 0 on")
        return shares

    @field_validator("balance")
    @classmethod
    def _something(cls, shares: dict[str, float]) -> dict[str, float]:
        if shares and sum(shares.values()) == 0:
            raise ValueError("the shares add up to 0; expected at least one task above 0")
        return shares

    @field_validator("synthetic")
    @classmethod
    def _fractions(cls, shares: dict[str, float]) -> dict[str, float]:
        for task, share in shares.items():
            if share > 1:
                raise ValueError(f"the synthetic share of {task} is {share}; expected a number in [0, 1]")
        return shares

    def refuse_unknown(self, table: Table) -> None:
        """Raises UserError if a share names a task that is not in `table`.

        Also raises UserError if a synthetic share is above 0 for a task whose pictures cannot be made.
        """
        for key, shares in (("balance", self.balance), ("synthetic", self.synthetic)):
            for task in shares:
                if task not in table:
                    raise UserError(
                        f"`train.batches.{key}`: {task!r} is not a restoration task; known are {', '.join(table)}"
                    )
        for task, share in self.synthetic.items():
            if share and not table[task].training:
                raise UserError(
                    f"`train.batches.synthetic`: {task} has a share of {share}, but its pictures cannot be made "
                    "from photographs; remove it"
                )
