"""Store of MLflow's records: the address in MLFLOW_TRACKING_URI, else the study's SQLite file."""

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from flows.tracking import locations
from mirl.config import UserError

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
_FIRST = "experiment_id = 0"
_ADDRESSES = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("experiments", "artifact_location"),
)
"""Columns of MLflow's tables that hold addresses of files."""


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
            _move_along(file, self.artifacts)
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
        mend = "start that server, or unset MLFLOW_TRACKING_URI to use the embedded file, and run this again"
        if _sqlite_file(uri):
            mend = (
                "put the study's folder back as it was, from a backup, or delete that file and run this again"
            )
        raise UserError(f"MLflow at {_public(uri)} did not take it ({first[:300]}); {mend}") from error


def _embedded(root: Path) -> str:
    return sqlite_address(root.resolve() / DATABASE)


def sqlite_address(file: Path) -> str:
    """Return the address of an SQLite file, whose path may hold any character: `?` would begin a query, `%20` a blank.

    MLflow makes the folder of what follows `sqlite:///` as it is written there, so an encoded path names the driver, too.
    """
    path = quote(str(file))
    return f"sqlite:///{path}" if path == str(file) else f"sqlite+pysqlite:///{path}"


def _sqlite_file(uri: str) -> Path | None:
    found = re.match(r"sqlite(?:\+pysqlite)?:///([^?]*)", uri)
    return Path(unquote(found[1])) if found else None


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
                sqlite_address(draft), artifacts
            )  # migrates, and adds the default experiment
            store.engine.dispose()
            draft.rename(file)
    except OSError as error:
        raise UserError(
            f"the tracking file {file} cannot be made ({error.strerror}); make its folder writable, or set "
            "MLFLOW_TRACKING_URI"
        ) from None


def _move_along(file: Path, artifacts: str) -> None:
    """Let the addresses in the SQLite file follow its folder, if that was moved or copied since they were written.

    Where the folder was says the address of MLflow's first experiment, which `_create` made. What becomes of the addresses
    lies below `artifacts`, whatever they were.
    """
    try:
        with closing(sqlite3.connect(file, timeout=60)) as database, database:
            (first,) = database.execute(
                f"SELECT artifact_location FROM experiments WHERE {_FIRST}"
            ).fetchone() or ("",)
            before = str(first).removesuffix("/0")
            if not first or before in (artifacts, first):
                return
            for table, column in _ADDRESSES:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (artifacts, len(before) + 1, len(before) + 1, f"{before}/"),
                )
    except sqlite3.Error:
        return  # MLflow says what is wrong with the file


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # closing it frees the lock, and so does the end of the process
        yield
