"""A dvc.lock in a file, written whole or not at all, entry by entry."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.graph import Lock, lock_text, parse_lock


@dataclass(frozen=True)
class LockFile:
    """Such as the dvc.lock of the repository."""

    path: Path

    def load(self) -> Lock:
        """Its entries; none where there is no such file."""
        return parse_lock(self.path.read_text()) if self.path.exists() else {}

    def add(self, entries: Lock) -> None:
        """Put entries in, over older ones of the same stages; others stay, whoever wrote them."""
        with self._alone():
            self.write(self.load() | entries)

    def write(self, lock: Lock) -> None:
        """Make these the entries."""
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.writing")
        draft.write_text(lock_text(lock))
        draft.replace(self.path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        guard = self.path.parent / ".mirl" / "locks" / self.path.name
        guard.parent.mkdir(parents=True, exist_ok=True)
        with guard.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
