"""Artifacts of a registered version: its files, compared and fetched by names that we know, never run."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from flows.registry.model_files import TICKET_PATH, files
from flows.tracking import locations
from flows.tracking.store import Store
from mirl.config import UserError
from mirl.tickets.container import sha256_of
from mirl.tickets.writing import TICKET

_AT_ONCE = 8
_META = "registered_model_meta"  # MLflow leaves it where it serves a model from


class VersionArtifacts:
    """Files at `address`, which comes out of the store.

    Raises UserError if the address is not the store's own location.
    """

    def __init__(self, store: Store, address: str) -> None:
        self._address = store.own(address)
        self._store = store
        self._folder = locations.local(address)
        """Folder of the files, if they lie on this machine."""
        self._repository = get_artifact_repository(address, tracking_uri=store.uri)

    def ticket(self, sha256: str) -> Path:
        """Return the ticket file of this digest: where it lies on this machine, else a copy.

        Raises UserError if the file has another digest.
        """
        if self._folder:
            path = self._folder / TICKET_PATH
            self._store.own(path.resolve().as_uri())  # a link may lead anywhere
        else:
            folder = self._store.root / ".mirl" / "registry" / sha256
            path = folder / TICKET_PATH
            if not (path.is_file() and sha256_of(path) == sha256):
                size = dict(self._listed({TICKET_PATH: path}, "artifacts")).get(TICKET_PATH, 0)
                if size <= TICKET.file_bytes:
                    self._fetch_whole(path, sha256)
        if not path.is_file() or sha256_of(path) != sha256:
            raise UserError(
                f"{path} is not the ticket that was registered, whose sha256 begins with {sha256[:12]}; "
                "restore it from a backup, or register it again with `python -m flows.registry promote`"
            )
        return path

    def difference(self, fresh: Path) -> str:
        """Return the name of a file that is changed, missing or extra beside the model folder `fresh`, else ""."""
        expected = files(fresh)
        found: dict[str, int] = {}
        for name, size in self._local(expected) if self._folder else self._listed(expected):
            if name == _META:
                continue
            if name not in expected or size != expected[name].stat().st_size:
                return name
            found[name] = size
        if missing := sorted(expected.keys() - found.keys()):
            return missing[0]
        with tempfile.TemporaryDirectory() as scratch:
            folder = self._folder or self._fetch(expected, Path(scratch))
            changed = [
                name for name, path in expected.items() if (folder / name).read_bytes() != path.read_bytes()
            ]
        return min(changed, default="")

    def _local(self, expected: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
        """Yield (name, bytes) of all in the folder; -1 bytes for what is neither a file nor an expected folder."""
        assert self._folder is not None
        folders = _folders(expected)
        for path in self._folder.rglob("*"):
            name = path.relative_to(self._folder).as_posix()
            if path.is_symlink() or not (path.is_file() or name in folders):
                yield name, -1
            elif path.is_file():
                yield name, path.stat().st_size

    def _listed(self, expected: Mapping[str, Path], below: str = "") -> Iterator[tuple[str, int]]:
        """Yield (name, bytes) as the store lists them; -1 bytes for an unexpected folder, which is not looked into."""
        folders = _folders(expected)
        for entry in self._repository.list_artifacts(below or None):
            is_inside = Path(entry.path).parent.as_posix() == (below or ".")
            if entry.is_dir and is_inside and entry.path in folders:
                yield from self._listed(expected, entry.path)
            else:
                yield entry.path, -1 if entry.is_dir else entry.file_size or 0

    def _fetch_whole(self, path: Path, sha256: str) -> None:
        """Fetch the ticket file and move it to `path` if it has this digest: another process may read the old one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as draft:
            fetched = self._fetch([TICKET_PATH], Path(draft)) / TICKET_PATH
            if sha256_of(fetched) == sha256:
                fetched.replace(path)

    def _fetch(self, names: Iterable[str], folder: Path) -> Path:
        """Copy the files `names` into `folder`, and return `folder`."""

        def fetch(name: str) -> None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # What every repository of MLflow has; `download_artifacts` would list each file before.
            self._repository._download_file(name, str(path))

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(fetch, names))
        return folder


def _folders(expected: Iterable[str]) -> set[str]:
    return {parent.as_posix() for name in expected for parent in Path(name).parents}
