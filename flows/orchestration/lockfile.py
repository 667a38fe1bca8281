"""File with a dvc.lock, to which entries are added; it is written whole or not at all."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.locks import Lock, lock_text, parse_lock
from mirl.files import write_whole


@dataclass(frozen=True)
class LockFile:
    """File with the text of a dvc.lock, such as that of the repository."""

    path: Path

    def load(self) -> Lock:
        """Return the entries of the file; an empty lock if there is no such file."""
        return parse_lock(self.path.read_text()) if self.path.exists() else {}

    def add(self, entries: Lock) -> None:
        """Add entries, replacing older ones of the same stages; other entries stay, whoever wrote them."""
        with self._alone():
            self.write(self.load() | entries)

    def write(self, lock: Lock) -> None:
        """Write the file anew, with the entries of `lock`."""
        write_whole(self.path, lock_text(lock).encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        guard = self.path.parent / ".mirl" / "locks" / self.path.name
        guard.parent.mkdir(parents=True, exist_ok=True)
        with guard.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
