"""Stores that keep the merged dvc.lock from one lottery to the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Protocol

from flows.graph import Node, read_graph
from flows.locks import Lock, lock_text, parse_lock
from flows.orchestration.artifacts import keep_text, kept_text, key_of
from flows.orchestration.lockfile import LockFile


class LockStore(Protocol):
    """Interface of a store for one lock: a `LockFile`, or a `LockArtifact`."""

    def load(self) -> Lock:
        """Return the entries that were kept last; an empty lock if there never were any."""

    def add(self, entries: Lock) -> None:
        """Add entries, replacing older ones of the same stages."""


@dataclass(frozen=True)
class LockArtifact:
    """Lock kept with Prefect's server, as an artifact that people can read."""

    study: str

    def load(self) -> Lock:
        return parse_lock(kept_text(self._key) or "")

    def add(self, entries: Lock) -> None:
        keep_text(self._key, lock_text(self.load() | entries), f"dvc.lock of {self.study}", "yaml")

    @property
    def _key(self) -> str:
        return key_of("lock", self.study)


def reconcile(clone: Path, targets: Sequence[str], locks: Sequence[Lock]) -> tuple[Lock, dict[str, Node]]:
    """Merge `locks` into the one lock by which most stages are up to date; return that lock and its stages by name.

    A kept lock may be half of a lottery that was ended, or that of other parameters, and the committed one older or
    newer. Entries that hold are taken from the first lock, then from the next; each order is tried, for a stage that
    was made twice may have two results. The merged lock is written to dvc.lock in `clone`.
    """
    best: tuple[int, Lock, dict[str, Node]] | None = None
    different = [lock for place, lock in enumerate(locks) if lock and lock not in locks[:place]] or [{}]
    for order in permutations(different):
        lock: Lock = {}
        nodes: dict[str, Node] = {}
        for other in order:
            lock = other | {name: lock[name] for name, node in nodes.items() if node.current}
            LockFile(clone / "dvc.lock").write(lock)
            nodes = read_graph(clone, targets)
            if all(node.current for node in nodes.values()):
                return lock, nodes
        current = sum(node.current for node in nodes.values())
        if best is None or current > best[0]:
            best = current, lock, nodes
    assert best is not None
    LockFile(clone / "dvc.lock").write(best[1])
    return best[1], best[2]
