"""A store whose files, addresses and tags somebody changed: nothing of it is run, no way out of its location is taken."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from mlflow.entities.model_registry import ModelVersion

from flows import registry
from flows.registry import model as served_model
from flows.registry import model_files, registered_model
from flows.registry.__main__ import main
from flows.registry.version_artifacts import VersionArtifacts
from flows.tracking.store import Store
from mirl.command.main import main as mirl
from mirl.config import UserError
from tests.flows.registry.tiny import CHAMPION, alias, scored

Decided = Callable[..., None]
EVIL = "import pathlib\npathlib.Path({!r}).touch()\n"


@pytest.fixture
def twice(root: Path, decided: Decided) -> Path:
    """Version 1 is the previous champion, version 2 the champion; what the study decided on is that of version 2."""
    for seed in (1, 2):
        decided(seed)
        registry.promote(root, scored)
    return root


def model(root: Path, version: int) -> Path:
    """Where the files of a version lie."""
    (row,) = asked(root, f"SELECT source FROM model_versions WHERE version = {version}")
    return Path(str(row[0]).removeprefix("file://"))


def asked(root: Path, statement: str, *values: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        return list(database.execute(statement, values))


def tag(root: Path, version: int, key: str, value: str) -> None:
    Store(root).client.set_model_version_tag("mirl", str(version), key, value)


def link(folder: Path) -> None:
    """What it leads to says the same today."""
    place = folder / "code/mirl/config.py"
    place.symlink_to(place.rename(folder.parent / "elsewhere.py"))


def swap(folder: Path, place: str, old: str, new: str) -> None:
    text = (folder / place).read_text()
    assert old in text
    (folder / place).write_text(text.replace(old, new))


CHANGES: dict[str, Callable[[Path, str], object]] = {
    "model.py": lambda folder, evil: (folder / "model.py").write_text(evil),
    "code/mirl/__init__.py": lambda folder, evil: (folder / "code/mirl/__init__.py").write_text(evil),
    "code/numpy.py": lambda folder, evil: (folder / "code/numpy.py").write_text(evil),
    "code/mirl/__pycache__": lambda folder, evil: (folder / "code/mirl/__pycache__").mkdir(),
    "python_model.pkl": lambda folder, evil: (folder / "python_model.pkl").write_bytes(b"cos\nsystem\n"),
    "code/mirl/names.py": lambda folder, evil: (folder / "code/mirl/names.py").unlink(),
    "code/mirl/config.py": lambda folder, evil: link(folder),
    "MLmodel": lambda folder, evil: swap(
        folder, "MLmodel", "mlflow.pyfunc.loaders.code_model", "mlflow_pyfunc.modelx"
    ),
    "requirements.txt": lambda folder, evil: swap(folder, "requirements.txt", "numpy==", "numpi=="),
}
"""Place that differs afterwards -> what changes it in a model's folder, given code that leaves a trace."""


def test_every_change_of_a_file_is_found(twice: Path) -> None:
    folder, kept, trace = model(twice, 2), twice.parent / "kept", twice.parent / "trace"
    fresh = twice.parent / "fresh"
    model_files.save(twice / "tickets/global-r1/ticket.safetensors", fresh)
    artifacts = VersionArtifacts(Store(twice), folder.as_uri())
    shutil.copytree(folder, kept)
    for place, change in CHANGES.items():
        change(folder, EVIL.format(str(trace)))
        assert artifacts.difference(fresh) == place
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
    assert artifacts.difference(fresh) == ""
    (folder / "registered_model_meta").write_text("MLflow leaves it where it serves")
    assert artifacts.difference(fresh) == ""
    assert not trace.exists()


def test_a_version_with_other_files_is_registered_anew_and_none_of_it_runs(twice: Path) -> None:
    trace = twice.parent / "trace"
    for version, place in ((1, "model.py"), (2, "code/mirl/__init__.py")):
        (model(twice, version) / place).write_text(EVIL.format(str(trace)))
    assert "version 1 of mirl) has another model.py" in registry.rollback(twice)
    assert (alias(twice, "champion"), alias(twice, "previous")) == ("3", "2")
    assert "version 2 of mirl) has another code/mirl/__init__.py" in registry.promote(twice, scored).said
    assert (alias(twice, "champion"), alias(twice, "previous")) == ("4", "3")
    assert registry.promote(twice, scored).version == "4"  # nothing is wrong with that one
    assert not trace.exists()
    fresh = twice.parent / "fresh"
    model_files.save(twice / "tickets/global-r1/ticket.safetensors", fresh)
    assert contents(model(twice, 4)) == contents(fresh)


def contents(folder: Path) -> dict[str, bytes]:
    return {place: path.read_bytes() for place, path in model_files.files(folder).items()}


def test_a_changed_champion_is_seen_before_it_is_called_the_champion_already(twice: Path) -> None:
    (model(twice, 2) / "model.py").write_text("raise SystemExit")
    assert registry.promote(twice, scored).version == "3"
    assert (alias(twice, "champion"), alias(twice, "previous")) == (
        "3",
        "1",
    )  # another ticket than the champion


def test_files_that_change_on_their_way_stay_without_an_alias(
    root: Path, decided: Decided, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    decided()
    log = MlflowClient.log_artifacts

    def log_another(client: MlflowClient, run_id: str, folder: str, place: str | None = None) -> None:
        if place and place.startswith("model-"):
            (Path(folder) / "model.py").write_text("raise SystemExit")
            log(client, run_id, folder, place)
            shutil.copy(str(served_model.__file__), Path(folder) / "model.py")
        else:
            log(client, run_id, folder, place)

    monkeypatch.setattr(MlflowClient, "log_artifacts", log_another)
    with pytest.raises(UserError, match="came back with another model.py than was registered"):
        registry.promote(root, scored)
    assert alias(root, "champion") is None


def test_tags_that_flatter_a_version_make_it_no_candidate(twice: Path) -> None:
    tag(twice, 2, "density", "0.001")
    promoted = registry.promote(twice, scored, force=True)
    assert promoted.version == "3" and "another tag density" in promoted.said


@pytest.mark.parametrize(
    "address", ["file:///etc", "http://127.0.0.1:9/latest/meta-data", "{root}/mlartifacts/link"]
)
def test_an_address_outside_of_the_store_is_not_asked(
    twice: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = twice.parent / "elsewhere"
    shutil.copytree(model(twice, 1), elsewhere)
    (twice / "mlartifacts" / "link").symlink_to(elsewhere)
    source = address.format(root=twice)
    asked(twice, "UPDATE model_versions SET source = ?, storage_location = NULL", source)
    assert main(["rollback"]) == mirl(["inspect", CHAMPION]) == 2
    said = capsys.readouterr().err
    assert said.count("not its own location") == said.count("\n") == 2
    assert (alias(twice, "champion"), alias(twice, "previous")) == ("2", "1")
    assert (
        "another address of its files" in registry.promote(twice, scored).said
    )  # made anew, in its own location
    assert model(twice, 3).is_relative_to(twice / "mlartifacts")


def test_a_ticket_that_is_a_link_or_a_pipe_is_not_handed_out(twice: Path, tmp_path: Path) -> None:
    import os

    place = model(twice, 2) / model_files.TICKET_PATH
    outside = tmp_path / "outside.safetensors"
    place.rename(outside)
    place.symlink_to(outside)
    with pytest.raises(UserError, match="not its own location"):
        registry.download(CHAMPION)
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(UserError, match="not the ticket that was registered"):
        registry.download(CHAMPION)
    assert registry.promote(twice, scored).version == "3"


def test_files_are_not_written_where_somebody_has_moved_an_experiment(root: Path, decided: Decided) -> None:
    decided()
    target = root.parent / "home"
    Store(root).client.create_experiment("mirl/tiny", artifact_location=target.as_uri())
    with pytest.raises(UserError, match="not its own location"):
        registry.promote(root, scored)
    assert not target.exists()


def test_files_are_not_written_where_somebody_has_moved_a_run(twice: Path, decided: Decided) -> None:
    target = twice.parent / "home"
    asked(twice, "UPDATE runs SET artifact_uri = ?", target.as_uri())
    decided(3)
    with pytest.raises(UserError, match="not its own location"):
        registry.promote(twice, scored)
    (model(twice, 1) / "model.py").write_text("")
    with pytest.raises(UserError, match="not its own location"):
        registry.rollback(twice)
    assert not target.exists()


NASTY = "\x1b]0;owned\x07\u202e\nx"


def outside(root: Path) -> set[Path]:
    """Everything beside the study and in it, but what it may write to."""
    found = root.parent.rglob("*")
    return {path for path in found if not {"mlartifacts", ".mirl", "mlflow.db"} & {*path.parts}}


def test_a_digest_is_one_before_it_is_a_path(twice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = outside(twice)
    for digest in (
        "../../../../escaped",
        str(twice.parent / "escaped"),
        "f" * 63 + "\n",
        NASTY,
        "-f",
        "F" * 64,
    ):
        for version in (1, 2):
            tag(twice, version, "sha256", digest)
        assert main(["rollback"]) == mirl(["inspect", CHAMPION]) == 2
        assert mirl(["restore", "x.png", "-o", "y.png"]) == 2
        said = capsys.readouterr().err
        assert said.count("has the tag sha256") == said.count("\n") == 3
        assert said.replace("\n", "").isprintable()
    assert main(["promote"]) == 2  # the champion has no figures that could be compared
    assert outside(twice) == before
    assert [path.name for path in (twice / ".mirl").iterdir()] == ["locks"]


def test_tags_do_not_reach_the_terminal_as_they_are(twice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("ticket", "study", "density", "verified", "sha256"):
        for version in (1, 2):
            tag(twice, version, key, f"a{NASTY}")
    assert [main([command]) for command in ("list", "rollback", "promote")] == [0, 2, 2]
    out, err = capsys.readouterr()
    assert r"a\x1b]0;owned\x07\u202e\nx" in out
    assert (out + err).replace("\n", "").isprintable() and "\nx" not in out + err


@pytest.mark.parametrize("said", ["x y", " ", "9" * 5000])
def test_a_step_that_is_no_number_stops_no_promotion(root: Path, decided: Decided, said: str) -> None:
    decided(1)
    registry.promote(root, scored)
    for key, value in {"mirl.pictures": said, "mirl.imported": "other"}.items():
        asked(root, "UPDATE tags SET value = ? WHERE key = ?", value, key)
    decided(2)
    assert registry.promote(root, scored, force=True).version == "2"


def test_a_version_that_is_no_number_is_said() -> None:
    version = SimpleNamespace(version="1\x1b[2J", tags={})
    with pytest.raises(UserError, match="expected a number"):
        registered_model._rank(cast(ModelVersion, version))
