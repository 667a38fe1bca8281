"""Texts and tables kept with Prefect's server, each under a key that its pages show."""

import json
import re
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    Artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import Artifact as ArtifactResponse


def keep_text(key: str, text: str, about: str, language: str = "") -> None:
    """Keep `text` as Markdown, or as a block of `language`; of the texts kept under a key, the last one counts."""
    block = f"```{language}\n{text}\n```\n" if language else text
    create_markdown_artifact(block, key=key, description=about)


def kept_text(key: str) -> str | None:
    """Return the text that was kept last under `key`, without the marks of a block; None if there is none."""
    found = kept(key)
    return re.sub(r"\A```\w+\n|\n```\s*\Z", "", found) if isinstance(found, str) else None


def kept(key: str) -> Any:
    """Return what was kept last under `key`, a text or the rows of a table; None if there is nothing."""
    artifact = cast(ArtifactResponse | None, Artifact.get(key))  # no loop runs here
    found = artifact and artifact.data
    return json.loads(found) if isinstance(found, str) and found.startswith("[") else found


def begin_progress(key: str, about: str, percent: float) -> Callable[[float], None]:
    """Show a progress bar at `percent`, and return the function that moves the bar to another percentage."""
    bar = cast(UUID, create_progress_artifact(percent, key=key, description=about))  # no loop runs here
    return lambda percent: cast(None, update_progress_artifact(bar, percent))


def keep_table(key: str, rows: list[dict[str, str | float]], about: str) -> None:
    """Keep a table."""
    create_table_artifact(rows, key=key, description=about)


def key_of(what: str, name: str) -> str:
    """Return a key in the form that Prefect accepts: small letters, digits and dashes."""
    return f"{what}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
