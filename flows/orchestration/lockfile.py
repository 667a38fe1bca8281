"""A dvc.lock in a file, written whole or not at all, entry by entry."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.locks import Lock, lock_text, parse_lock
from mirl.files import write_whole


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
        write_whole(self.path, lock_text(lock).encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        guard = self.path.parent / ".mirl" / "locks" / self.path.name
        guard.parent.mkdir(parents=True, exist_ok=True)
        with guard.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
