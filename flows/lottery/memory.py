"""Where the merged dvc.lock is kept from one lottery to the next."""

from dataclasses import dataclass
from typing import Protocol

from flows.graph import Lock, lock_text, parse_lock
from flows.lottery.artifacts import keep_text, kept_text, key_of


class Memory(Protocol):
    """Keeps one lock: a `LockFile`, or a `LockArtifact`."""

    def load(self) -> Lock:
        """The entries that were kept last; none where there never were any."""

    def add(self, entries: Lock) -> None:
        """Put entries in, over older ones of the same stages."""


@dataclass(frozen=True)
class LockArtifact:
    """With Prefect's server, as an artifact that people can read."""

    study: str

    def load(self) -> Lock:
        return parse_lock(kept_text(self._key) or "")

    def add(self, entries: Lock) -> None:
        keep_text(self._key, lock_text(self.load() | entries), f"dvc.lock of {self.study}", "yaml")

    @property
    def _key(self) -> str:
        return key_of("lock", self.study)
