"""Paths of a study's files, and atomic creation of a folder: whole or not at all, by one process at a time."""

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
    """Folders of a study below `root`."""

    root: Path

    @property
    def prepared(self) -> Path:
        return self.root / "data" / "prepared"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def sweep(self) -> Path:
        """Default output folder of `mirl sweep`."""
        return self.report / "sweep"

    @property
    def routing(self) -> Path:
        """Default output folder of `mirl routing`."""
        return self.report / "routing"

    def ticket(self, name: str) -> Path:
        """Return the folder of a ticket. Raises UserError if `name` is not a name, as it could lead elsewhere."""
        return self.root / "tickets" / named(name, "a ticket's name")

    def scores(self, name: str) -> Path:
        """Return the folder of a ticket's scores. Raises UserError as `ticket` does."""
        return self.root / "scores" / named(name, "a ticket's name")

    @property
    def resume(self) -> Path:
        """Folder of the checkpoints of trainings; missing before the first."""
        return self.root / ".mirl" / "resume"

    def checkpoint(self, fingerprint: str) -> Path:
        """Return the file from which a training of this fingerprint resumes; DVC neither deletes nor caches it."""
        folder = self.resume / fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "checkpoint.safetensors"

    @contextmanager
    def making(self, folder: Path) -> Iterator[Path]:
        """Yield an empty folder that is renamed to `folder` at the end; after an error nothing is left of it.

        Raises UserError if another process is making the same folder.
        """
        place = folder.relative_to(self.root).as_posix()
        draft = self.root / ".mirl" / "making" / place.replace("/", "--")
        with self.claimed(place):
            shutil.rmtree(draft, ignore_errors=True)  # left by a kill
            draft.mkdir()
            try:
                yield draft
                shutil.rmtree(folder, ignore_errors=True)
                folder.parent.mkdir(parents=True, exist_ok=True)
                draft.rename(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def claimed(self, what: str) -> Iterator[None]:
        """Keep other processes from making `what`, a path below `root`. Raises UserError if another process makes it."""
        file = self.root / ".mirl" / "making" / f"{what.replace('/', '--')}.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a+") as lock:
            _claim(lock.fileno(), what)
            yield


def _claim(descriptor: int, what: str) -> None:
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
    """Content of report/decision.json."""

    ticket: Name | None = None
    reasons: list[str] = Field(min_length=1)
    sha256: DigestOrNone = ""
    """SHA-256 digest of the ticket's file."""


def read_decision(report: Path) -> KeptDecision:
    """Read the decision in the folder `report`. Raises UserError if the file is missing or malformed."""
    path = report / "decision.json"
    try:
        return KeptDecision.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path} is no decision ({error.errors()[0]['msg']}); run `dvc repro`") from None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys. Raises ValueError if a number is not finite."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the value of a JSON file. Raises UserError if the file is missing or damaged."""
    try:
        return json.loads(read_text(path))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `dvc repro` makes it") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}); delete it and run `dvc repro` again") from None
