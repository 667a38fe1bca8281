"""Restoration tasks: the available kinds, the table of a study's tasks, and the five that a study has by default.

A new kind is a file here, with its section, and an entry in KINDS and TaskSection.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from mirl.config import Section
from mirl.data.tasks.dehaze import DehazeSection
from mirl.data.tasks.denoise import DenoiseSection
from mirl.data.tasks.derain import DerainSection
from mirl.data.tasks.jpeg import JpegSection
from mirl.data.tasks.pairs import OwnPairsSection
from mirl.data.tasks.social import SocialSection
from mirl.data.tasks.super_resolve import SuperResolveSection
from mirl.data.tasks.task import KindSection, Severity, Task
from mirl.names import named

__all__ = [
    "DEFAULT",
    "DEFAULT_SECTIONS",
    "KINDS",
    "KindSection",
    "Severity",
    "Table",
    "Task",
    "TaskSection",
    "TaskSections",
    "from_plain",
    "table",
    "to_plain",
]

KINDS: dict[str, type[KindSection]] = {
    "denoise": DenoiseSection,
    "derain": DerainSection,
    "dehaze": DehazeSection,
    "pairs": OwnPairsSection,
    "jpeg": JpegSection,
    "social": SocialSection,
    "super_resolve": SuperResolveSection,
}
"""`kind:` of an entry of `data.tasks` -> its options."""

TaskSection = Annotated[
    DenoiseSection
    | DerainSection
    | DehazeSection
    | OwnPairsSection
    | JpegSection
    | SocialSection
    | SuperResolveSection,
    Field(discriminator="kind"),
]
"""One entry of `data.tasks` in params.yaml."""

Table = Mapping[str, Task]
"""Tasks of a study by name, in the order of every table."""


def _safe_names(sections: dict[str, TaskSection]) -> dict[str, TaskSection]:
    for name in sections:
        named(name, "a task's name")
        if name == "mean" or "--" in name:
            raise ValueError(
                f"a task's name is {name!r}, which stands for something else in tables and file names; "
                "expected another word than `mean`, without `--`"
            )
    return sections


TaskSections = Annotated[dict[str, TaskSection], Field(min_length=1), AfterValidator(_safe_names)]
"""`data.tasks` in params.yaml."""

DEFAULT_SECTIONS: dict[str, TaskSection] = {
    "denoise_15": DenoiseSection(kind="denoise", sigma=15),
    "denoise_25": DenoiseSection(kind="denoise", sigma=25),
    "denoise_50": DenoiseSection(kind="denoise", sigma=50),
    "derain": DerainSection(kind="derain"),
    "dehaze": DehazeSection(kind="dehaze"),
}
"""The tasks of a study that names none: those of the MIR-L paper."""


def table(sections: Mapping[str, KindSection]) -> Table:
    """Return the tasks that the sections describe, by name."""
    return {name: section.task(name) for name, section in sections.items()}


DEFAULT = table(DEFAULT_SECTIONS)


class _Stored(Section):
    tasks: TaskSections


def to_plain(sections: Mapping[str, TaskSection]) -> dict[str, Any]:
    """Return the table as JSON data without default values; empty if it is the default table."""
    if sections == DEFAULT_SECTIONS:
        return {}
    return {
        name: section.model_dump(mode="json", exclude_defaults=True) for name, section in sections.items()
    }


def from_plain(values: Mapping[str, Any], source: str) -> Table:
    """Return the table that `to_plain` wrote.

    Raises UserError, which names `source`, if the table has tasks that are not known here.
    """
    return table(_Stored.read({"tasks": values}, source).tasks) if values else DEFAULT
