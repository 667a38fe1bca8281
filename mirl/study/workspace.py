"""Where a study's files lie, and how a stage makes a folder of them: whole or not at all, one maker at a time."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from mirl.config import UserError
from mirl.files import read_text
from mirl.names import DigestOrNone, Name, named


@dataclass(frozen=True)
class Workspace:
    """The folders of a study below `root`."""

    root: Path

    @property
    def prepared(self) -> Path:
        return self.root / "data" / "prepared"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def sweep(self) -> Path:
        """Where `mirl sweep` writes to unless it is told otherwise."""
        return self.report / "sweep"

    def ticket(self, name: str) -> Path:
        """UserError where that is no name, but a way to elsewhere."""
        return self.root / "tickets" / named(name, "a ticket's name")

    def scores(self, name: str) -> Path:
        """UserError as `ticket`."""
        return self.root / "scores" / named(name, "a ticket's name")

    def checkpoint(self, fingerprint: str) -> Path:
        """File that a training of this fingerprint resumes from; outside of what DVC deletes and caches."""
        folder = self.root / ".mirl" / "resume" / fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "checkpoint.safetensors"

    @contextmanager
    def making(self, folder: Path) -> Iterator[Path]:
        """Yield an empty folder that becomes `folder` at the end, by one rename; at an error nothing is left.

        UserError where another process is making the same folder.
        """
        key = folder.relative_to(self.root).as_posix().replace("/", "--")
        draft = self.root / ".mirl" / "making" / key
        draft.parent.mkdir(parents=True, exist_ok=True)
        with draft.with_suffix(".lock").open("a+") as lock:
            _claim(lock.fileno(), folder.relative_to(self.root))
            shutil.rmtree(draft, ignore_errors=True)  # left by a kill
            draft.mkdir()
            try:
                yield draft
                shutil.rmtree(folder, ignore_errors=True)
                folder.parent.mkdir(parents=True, exist_ok=True)
                draft.rename(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)


def _claim(descriptor: int, what: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 20, 0).decode().strip() or "?"
        raise UserError(
            f"{what} is being made by another process (pid {owner}); wait for it or stop it, then run this again"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)


class KeptDecision(BaseModel):
    """What report/decision.json says."""

    ticket: Name | None = None
    reasons: list[str] = Field(min_length=1)
    sha256: DigestOrNone = ""
    """Of the ticket's file."""


def read_decision(report: Path) -> KeptDecision:
    """The decision in the folder `report`; UserError where there is none, or it is not what mirl writes."""
    path = report / "decision.json"
    try:
        return KeptDecision.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path} is no decision ({error.errors()[0]['msg']}); run `dvc repro`") from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, keys in order; a number that is not finite is refused."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file; UserError where it is missing or damaged."""
    try:
        return json.loads(read_text(path))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `dvc repro` makes it") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}); delete it and run `dvc repro` again") from None
