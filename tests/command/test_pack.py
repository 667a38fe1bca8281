from pathlib import Path
from typing import Any

import pytest

from mirl.command.main import main
from mirl.tickets import reading, writing


@pytest.fixture
def trained(make_ticket: Any, tmp_path: Path) -> Path:
    path = tmp_path / "trained.safetensors"
    writing.write(make_ticket(), path)
    return path


@pytest.mark.parametrize(("arguments", "kind"), [([], "fp16"), (["--values", "int8"], "int8")])
def test_a_smaller_ticket_that_says_what_it_is(
    arguments: list[str], kind: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = trained.with_name("small.safetensors")
    assert main(["pack", str(trained), "-o", str(small), *arguments]) == 0
    assert f"packed tiny with {kind} values" in capsys.readouterr().out
    assert small.stat().st_size < trained.stat().st_size
    assert main(["inspect", str(small)]) == 0
    assert f"{kind}, rounded from ticket {reading.read(trained).sha256}" in capsys.readouterr().out


def test_a_file_that_exists_is_kept_without_force(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = trained.with_name("small.safetensors")
    small.write_text("mine")
    assert main(["pack", str(trained), "-o", str(small)]) == 2
    assert "exists; --force" in capsys.readouterr().err and small.read_text() == "mine"
    assert main(["pack", str(trained), "-o", str(small), "--force"]) == 0
    assert reading.read(small).values.kind == "fp16"


def test_other_places_are_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(trained), "-o", str(trained.parent)]) == 2
    assert "is a folder; name a file" in capsys.readouterr().err
    assert main(["pack", str(trained), "-o", str(trained.parent / "no" / "where")]) == 2
    assert "does not exist; make it first" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_said_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "no ticket is read", "-o", str(tmp_path / "lost" / "small.safetensors")]) == 2
    assert f"the folder {tmp_path / 'lost'} does not exist; make it first" in capsys.readouterr().err
