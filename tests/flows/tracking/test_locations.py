"""An address out of a store: what is its own location, and what would be any file or any host."""

from pathlib import Path

import pytest

from flows.tracking.locations import local, own
from flows.tracking.store import Store
from mirl.config import UserError

SERVER = "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("address", "tracking"),
    [
        ("file://{root}/mlartifacts/1/x y/artifacts", "sqlite:///x"),
        ("file://{root}/mlartifacts/1/x%20y", "sqlite:///x"),
        ("{root}/mlartifacts/1", "sqlite:///x"),
        ("file://localhost{root}/mlartifacts", SERVER),
        ("mlflow-artifacts:/1/x/artifacts", SERVER),
        ("mlflow-artifacts://127.0.0.1:5000/1", SERVER),
        ("s3://bucket/mirl/1/x", SERVER),
    ],
)
def test_its_own_location_is_taken(tmp_path: Path, address: str, tracking: str) -> None:
    location = address.format(root=tmp_path)
    assert own(location, tracking, [(tmp_path / "mlartifacts").as_uri(), "s3://bucket/mirl/"]) == location


@pytest.mark.parametrize(
    ("address", "tracking"),
    [
        ("file:///etc", SERVER),
        ("/etc/passwd", "sqlite:///x"),
        ("tickets", "sqlite:///x"),
        ("", "sqlite:///x"),
        ("file://{root}/mlartifacts/../other", "sqlite:///x"),
        ("file://{root}/mlartifacts/%2e%2e/other", "sqlite:///x"),
        ("file://{root}/mlartifacts/%252e%252e/other", "sqlite:///x"),
        ("file://{root}/mlartifactsx", "sqlite:///x"),
        ("file://{root}/mlartifacts/link/x", "sqlite:///x"),
        ("file://elsewhere{root}/mlartifacts", "sqlite:///x"),
        ("file://{root}/mlartifacts/x?y", "sqlite:///x"),
        ("file://{root}/mlartifacts/\x1b", "sqlite:///x"),
        ("mlflow-artifacts:/1", "sqlite:///x"),
        ("mlflow-artifacts://169.254.169.254/1", SERVER),
        ("mlflow-artifacts://5001/1", SERVER),
        ("mlflow-artifacts:/../../api/2.0/mlflow", SERVER),
        ("mlflow-artifacts:/a\\..\\b", SERVER),
        ("http://169.254.169.254/latest/meta-data", SERVER),
        ("http://127.0.0.1:5000/api/2.0", SERVER),
        ("s3://bucket/mirlother", SERVER),
        ("s3://other/mirl/1", SERVER),
        ("s3://bucket/mirl/../x", SERVER),
        ("dbfs:/x", SERVER),
        ("file://[x", "sqlite:///x"),
        ("s3://[/a", SERVER),
        ("ftp://127.0.0.1/x", SERVER),
        ("runs:/x/model", SERVER),
        ("models:/other/1", SERVER),
    ],
)
def test_another_is_refused(tmp_path: Path, address: str, tracking: str) -> None:
    (tmp_path / "mlartifacts").mkdir()
    (tmp_path / "mlartifacts" / "link").symlink_to("/etc")
    with pytest.raises(UserError, match="not its own location"):
        own(
            address.format(root=tmp_path),
            tracking,
            [(tmp_path / "mlartifacts").as_uri(), "s3://bucket/mirl/"],
        )


def test_who_gives_a_server_another_location_says_so_to_us(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="MLFLOW_DEFAULT_ARTIFACT_ROOT"):
        Store(root).own("s3://bucket/mirl/1")
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://bucket/mirl")
    assert Store(root).own("s3://bucket/mirl/1") == "s3://bucket/mirl/1"


def test_what_lies_on_this_disk_has_a_path() -> None:
    assert local("file:///a%20b/c") == Path("/a b/c") and local("/a") == Path("/a")
    assert local("s3://a/b") is local("file://host/a") is local("a/b") is None


@pytest.mark.parametrize("name", ["what?", "a%20b", "a #b"])
def test_the_name_of_the_root_may_be_odd_and_what_lies_below_it_may_not(tmp_path: Path, name: str) -> None:
    root = (tmp_path / name / "mlartifacts").as_uri()
    assert own(f"{root}/1/x", "sqlite:///x", [root]) == f"{root}/1/x"
    for below in ("../x", "1/%2e%2e/x", "1/%252e/x", "1/x?y", "1/%3Fx"):
        with pytest.raises(UserError, match="not its own location"):
            own(f"{root}/{below}", "sqlite:///x", [root])
