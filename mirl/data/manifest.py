"""The manifest: one row for each picture of the prepared data set."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mirl.config import UserError

FORMAT = "mirl-data 1"
FORMAT_WITH_TASKS = "mirl-data 2"
"""Format of a manifest that names tasks, used only for a study whose tasks differ from the default ones."""
_TYPES = {str: pa.string(), int: pa.int64()}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One picture in one role."""

    image: str
    """The name of the photograph or pair; unique within split, task and role."""
    source: str
    """Key of the source in params.yaml."""
    split: str
    """train, val or test."""
    task: str
    """The pair's restoration task; empty for a clean photograph, which serves every task."""
    role: str
    """clean, degraded or depth."""
    pair: str
    """Name of the pair, the same for all of its roles; empty for a photograph that stands alone."""
    height: int
    width: int
    sha256: str
    """SHA-256 digest of the pixels."""
    row: int
    """Place of the pixels in `pixels.arrow`; pictures with the same pixels share it."""


COLUMNS = tuple(field.name for field in fields(Row))


def digest(rows: Sequence[Row], tasks: Mapping[str, Any] = {}) -> str:
    """Return the SHA-256 digest (64 hex digits) of the rows and the tasks; it covers the pixels by their digests."""
    said = [_format(tasks), [list(asdict(row).values()) for row in rows], *([tasks] if tasks else [])]
    return hashlib.sha256(_json(said).encode()).hexdigest()


def write(rows: Sequence[Row], path: Path, tasks: Mapping[str, Any] = {}) -> str:
    """Write the rows as Parquet, the same bytes for the same rows, and return their digest.

    `tasks`: the study's tasks as JSON data; empty for the default ones.
    """
    named = digest(rows, tasks)
    header = {"mirl.format": _format(tasks), "mirl.digest": named}
    header |= {"mirl.tasks": _json(tasks)} if tasks else {}
    kinds = {field.name: _TYPES[field.type] for field in fields(Row) if isinstance(field.type, type)}
    schema = pa.schema(kinds, metadata=header)
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    pq.write_table(table, path, compression="zstd")
    return named


def read(path: Path) -> tuple[pd.DataFrame, str, dict[str, Any]]:
    """Read the manifest as a table, its digest, and the tasks that it was written with, as JSON data.

    Raises UserError if the file is missing, altered or not a manifest.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `dvc repro prepare` makes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}); run `dvc repro prepare`") from None
    found = _header(table)
    if found.get("mirl.format") not in (FORMAT, FORMAT_WITH_TASKS) or tuple(table.column_names) != COLUMNS:
        raise UserError(
            f"{path} is of format {found.get('mirl.format')!r}, expected {FORMAT!r} or {FORMAT_WITH_TASKS!r}; "
            "prepare it again"
        )
    rows, tasks = [Row(**values) for values in table.to_pylist()], _tasks(found)
    if digest(rows, tasks) != found.get("mirl.digest"):
        raise UserError(f"{path} was altered: it does not have the digest that it names; prepare it again")
    return table.to_pandas(), found["mirl.digest"], tasks


def rows(table: pd.DataFrame) -> list[Row]:
    """Return the rows of the table as values."""
    return [Row(**{str(key): value for key, value in row.items()}) for row in table.to_dict("records")]


def _format(tasks: Mapping[str, Any]) -> str:
    return FORMAT_WITH_TASKS if tasks else FORMAT


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _tasks(header: Mapping[str, str]) -> dict[str, Any]:
    """Return the tasks of a manifest; empty if they are damaged, which the digest then reveals."""
    try:
        found = json.loads(header.get("mirl.tasks", "{}"))
    except (json.JSONDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _header(table: Any) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
