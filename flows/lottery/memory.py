"""Where the merged dvc.lock is kept from one lottery to the next."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flows.graph import Lock, lock_text, parse_lock
from flows.lottery.artifacts import keep_text, kept_text, key_of


class Memory(Protocol):
    """Keeps one lock."""

    def load(self) -> Lock:
        """The entries that were kept last; none where there never were any."""

    def keep(self, lock: Lock) -> None: ...


@dataclass(frozen=True)
class LockFile:
    """In a file, such as the dvc.lock of the repository."""

    path: Path

    def load(self) -> Lock:
        return parse_lock(self.path.read_text()) if self.path.exists() else {}

    def keep(self, lock: Lock) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.writing")
        draft.write_text(lock_text(lock))
        draft.replace(self.path)


@dataclass(frozen=True)
class LockArtifact:
    """With Prefect's server, as an artifact that people can read."""

    study: str

    def load(self) -> Lock:
        return parse_lock(kept_text(self._key) or "")

    def keep(self, lock: Lock) -> None:
        keep_text(self._key, lock_text(lock), f"dvc.lock of {self.study}", "yaml")

    @property
    def _key(self) -> str:
        return key_of("lock", self.study)
