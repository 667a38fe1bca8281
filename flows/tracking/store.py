"""Store of MLflow's records: the address in MLFLOW_TRACKING_URI, else the study's SQLite file."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from flows.tracking import locations
from mirl.config import UserError

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"


class Store:
    """Opened store, named by `uri` and reached by `client`; if it is an SQLite file, other files go to `artifacts`."""

    def __init__(self, root: Path) -> None:
        """Open the store of the study in the folder `root`; the embedded file is created if it is missing.

        Raises UserError if the store cannot be used.
        """
        self.uri = address(root)
        file = _sqlite_file(self.uri)
        self.root = file.resolve().parent if file else root.resolve()
        self.artifacts = (self.root / ARTIFACTS).as_uri() if file else None
        if file and self.artifacts:
            _create(file, self.artifacts)
        with plain_errors(self.uri):
            self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def own(self, location: str) -> str:
        """Return `location`, an address that the store gave for files. Raises UserError if it is not the store's own."""
        given = os.environ.get(locations.ROOT_VARIABLE, "")
        roots = [(self.root / ARTIFACTS).as_uri(), *([given] if given else [])]
        return locations.own(location, self.uri, roots)

    @property
    def shown(self) -> str:
        """The address without a password, fit to be printed."""
        return _public(self.uri)

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Hold the machine-wide lock of `what` in this study; others wait."""
        with _locked(self.root / ".mirl" / "locks" / f"mlflow-{what}"):
            yield


def address(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI, else the absolute address of the embedded SQLite file in `root`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _embedded(root)


def exists(root: Path) -> bool:
    """Return whether there may be a store to read from; False if its SQLite file is missing."""
    file = _sqlite_file(address(root))
    return file is None or file.exists()


@contextmanager
def plain_errors(uri: str) -> Iterator[None]:
    """Turn the errors of MLflow and of the connection to it into a UserError of one sentence."""
    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        first = " ".join(str(error).split())
        if "out-of-date database schema" in first:
            raise UserError(
                f"{_public(uri)} was made by an older MLflow; run `mlflow db upgrade {_public(uri)}`"
            ) from None
        raise UserError(
            f"MLflow at {_public(uri)} did not take it ({first[:300]}); start that server, or unset "
            "MLFLOW_TRACKING_URI to use the embedded file, and run this again"
        ) from error


def _embedded(root: Path) -> str:
    return f"sqlite:///{root.resolve() / DATABASE}"


def _sqlite_file(uri: str) -> Path | None:
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix).partition("?")[0]) if uri.startswith(prefix) else None


def _public(uri: str) -> str:
    """Return `uri` without a password, fit to be printed."""
    parts = urlsplit(uri)
    return uri.replace(f":{parts.password}@", ":***@") if parts.password else uri


def _create(file: Path, artifacts: str) -> None:
    """Make the SQLite file complete under another name, then rename it: no process sees half of it.

    Several processes that open a fresh file at once would migrate it at once and ruin it. Raises UserError if the file
    cannot be made.
    """
    if file.exists():
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _locked(file.with_name(f"{file.name}.lock")):
            if file.exists():
                return
            draft = file.with_name(f"{file.name}.making")
            draft.unlink(missing_ok=True)  # left by a kill
            store = SqlAlchemyStore(
                f"sqlite:///{draft}", artifacts
            )  # migrates, and adds the default experiment
            store.engine.dispose()
            draft.rename(file)
    except OSError as error:
        raise UserError(
            f"the tracking file {file} cannot be made ({error.strerror}); make its folder writable, or set "
            "MLFLOW_TRACKING_URI"
        ) from None


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # closing it frees the lock, and so does the end of the process
        yield
