"""The manifest: one row for each picture of the prepared data set."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mirl.config import UserError

FORMAT = "mirl-data 1"
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
    """The pair's restoration task; empty for a clean photograph, that serves every task."""
    role: str
    """clean, degraded or depth."""
    pair: str
    """The same for all roles of one pair; empty for a photograph that stands alone."""
    height: int
    width: int
    sha256: str
    """Over the pixels."""
    row: int
    """Place of the pixels in `pixels.arrow`; pictures with the same pixels share it."""


COLUMNS = tuple(field.name for field in fields(Row))


def digest(rows: Sequence[Row]) -> str:
    """sha256 (64 hex digits) over everything that the rows say, pixels included through their sha256."""
    text = json.dumps([FORMAT, [list(asdict(row).values()) for row in rows]], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write(rows: Sequence[Row], path: Path) -> str:
    """Writes the rows as Parquet, the same bytes for the same rows, and returns their digest."""
    named = digest(rows)
    kinds = {field.name: _TYPES[field.type] for field in fields(Row) if isinstance(field.type, type)}
    schema = pa.schema(kinds, metadata={"mirl.format": FORMAT, "mirl.digest": named})
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    pq.write_table(table, path, compression="zstd")
    return named


def read(path: Path) -> tuple[pd.DataFrame, str]:
    """The manifest as a table, and its digest; UserError where it is missing, not a manifest or altered."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `dvc repro prepare` makes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}); run `dvc repro prepare`") from None
    found = _header(table)
    if found.get("mirl.format") != FORMAT or tuple(table.column_names) != COLUMNS:
        raise UserError(
            f"{path} is of format {found.get('mirl.format')!r}, expected {FORMAT!r}; prepare it again"
        )
    rows = [Row(**values) for values in table.to_pylist()]
    if digest(rows) != found["mirl.digest"]:
        raise UserError(
            f"{path} was altered: its rows do not have the digest that it names; prepare it again"
        )
    return table.to_pandas(), found["mirl.digest"]


def rows(table: pd.DataFrame) -> list[Row]:
    """The table's rows as values."""
    return [Row(**{str(key): value for key, value in row.items()}) for row in table.to_dict("records")]


def _header(table: Any) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
