from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mirl.config import UserError
from mirl.data import manifest
from mirl.data.manifest import Row

ROWS = [
    Row(
        image="a", source="s", split="train", task="", role="clean", pair="", height=3, width=4,
        sha256="00", row=0,
    ),
    Row(
        image="b", source="s", split="test", task="derain", role="degraded", pair="test/derain/b", height=3,
        width=4, sha256="11", row=1,
    ),
]  # fmt: skip


def test_rows_come_back_and_the_digest_with_them(tmp_path: Path) -> None:
    named = manifest.write(ROWS, tmp_path / "m.parquet")
    table, found, tasks = manifest.read(tmp_path / "m.parquet")
    assert manifest.rows(table) == ROWS
    assert found == named == manifest.digest(ROWS) and tasks == {}


def test_a_table_of_tasks_comes_back_and_counts_in_the_digest(tmp_path: Path) -> None:
    given = {"b": {"kind": "pairs"}, "a": {"kind": "jpeg", "quality": [10, 60]}}
    named = manifest.write(ROWS, tmp_path / "m.parquet", given)
    _, found, tasks = manifest.read(tmp_path / "m.parquet")
    assert found == named == manifest.digest(ROWS, given) != manifest.digest(ROWS)
    assert tasks == given and list(tasks) == ["b", "a"]
    table = pq.read_table(tmp_path / "m.parquet")
    for altered in ('{"b":{"kind":"pairs"}}', "{", "[]"):
        header = table.schema.metadata | {b"mirl.tasks": altered.encode()}
        pq.write_table(table.replace_schema_metadata(header), tmp_path / "m.parquet")
        with pytest.raises(UserError, match="was altered"):
            manifest.read(tmp_path / "m.parquet")


def test_the_digest_is_pinned() -> None:
    """It names the data set in every ticket: a change renames all of them."""
    assert manifest.digest(ROWS) == "e4b09ad7a00250ba06686a6e03c1a9fec39f89dd819f3973a996eddc8fc634be"


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        manifest.write(ROWS, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("field", list(manifest.COLUMNS))
def test_every_column_counts_in_the_digest(field: str) -> None:
    other: Any = "val" if isinstance(getattr(ROWS[0], field), str) else 9
    assert manifest.digest([replace(ROWS[0], **{field: other}), ROWS[1]]) != manifest.digest(ROWS)


def test_a_missing_broken_or_altered_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        manifest.read(tmp_path / "gone.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        manifest.read(tmp_path / "text.parquet")

    manifest.write(ROWS, tmp_path / "m.parquet")
    table = pq.read_table(tmp_path / "m.parquet")
    pq.write_table(table.slice(0, 1), tmp_path / "m.parquet")
    with pytest.raises(UserError, match="was altered"):
        manifest.read(tmp_path / "m.parquet")
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "m.parquet")
    with pytest.raises(UserError, match="expected 'mirl-data 1' or 'mirl-data 2'"):
        manifest.read(tmp_path / "m.parquet")
