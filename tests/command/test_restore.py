import errno
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mirl.command.main import main
from mirl.restore import image_file
from mirl.restore.restorer import Restorer


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for number, name in enumerate(["a.png", "c.png"]):
        Image.fromarray(np.full((5, 6 + number, 3), 40, np.uint8)).save(folder / name)
    Image.new("L", (3, 3), 9).save(folder / "grey.png")
    return folder


def test_one_photograph(
    album: Path, ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out.png"
    assert main(["restore", str(album / "a.png"), "-o", str(out), "--ticket", str(ticket_file)]) == 0
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(album / "a.png")))
    said = capsys.readouterr()
    assert f"restored {out} with the ticket tiny (100.0% of the weights)" in said.out
    assert said.err == ""


def test_a_bad_one_does_not_stop_the_others(
    album: Path, ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (album / "b.png").write_text("no picture")
    out = tmp_path / "out"
    assert main(["restore", str(album), "-o", str(out), "--ticket", str(ticket_file)]) == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "c.png", "grey.png"]
    assert Image.open(out / "grey.png").mode == "L"
    said = capsys.readouterr()
    assert "restored 3 of 4 photographs" in said.out
    assert said.err.count("\n") == 1 and "b.png is not an image" in said.err


def test_the_only_one_is_bad(ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.png"
    assert main(["restore", str(tmp_path / "lost.png"), "-o", str(out), "--ticket", str(ticket_file)]) == 2
    assert capsys.readouterr().err.startswith(f"mirl: error: {tmp_path / 'lost.png'} does not exist")
    assert not out.exists()


def test_an_input_without_photographs_does_not_stop_the_others(
    album: Path, ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [str(album / "a.png"), str(album / "*.webp")]
    assert main(["restore", *inputs, "-o", str(tmp_path / "out"), "--ticket", str(ticket_file)]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"restored {tmp_path / 'out' / 'a.png'} ")
    assert said.err.count("\n") == 1 and "*.webp matches no photographs" in said.err


def test_what_is_in_the_folder_already_stays_unless_forced(
    album: Path, ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("precious")
    command = ["restore", str(album), "-o", str(out), "--ticket", str(ticket_file)]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "restored 2 of 3 photographs" in said.out and said.err == ""
    assert f"1 of 3 photographs are in {out} already and stay as they are; --force" in said.out
    assert (out / "a.png").read_text() == "precious" and (out / "c.png").exists()
    assert main([*command[:-1], str(tmp_path / "no ticket is read")]) == 0
    assert capsys.readouterr().out.startswith(f"3 of 3 photographs are in {out} already")
    assert main([*command, "--force"]) == 0
    assert np.array_equal(np.asarray(Image.open(out / "a.png")), np.asarray(Image.open(album / "a.png")))


def test_all_are_there_but_an_input_holds_none(
    album: Path, ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "restore",
        str(album),
        str(album / "*.webp"),
        "-o",
        str(tmp_path / "out"),
        "--ticket",
        str(ticket_file),
    ]
    assert main(command) == 1
    capsys.readouterr()
    assert main(command) == 1
    said = capsys.readouterr()
    assert said.out.startswith("3 of 3 photographs are in") and "matches no photographs" in said.err


def test_a_second_run_fails_like_the_first(
    album: Path, ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (album / "b.png").write_text("no picture")
    command = ["restore", str(album), "-o", str(tmp_path / "out"), "--ticket", str(ticket_file)]
    assert main(command) == 1
    first = capsys.readouterr()
    assert main(command) == 1
    second = capsys.readouterr()
    assert second.err == first.err and "b.png is not an image" in second.err
    assert "restored 0 of 4 photographs" in second.out and "3 of 4 photographs are in" in second.out


def test_what_is_no_file_or_has_no_source_is_not_taken_for_restored(
    album: Path, ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "a.png").mkdir(parents=True)
    (out / "c.png").symlink_to(tmp_path / "gone")
    (out / "lost.png").touch()
    inputs = [str(album), str(tmp_path / "lost.png")]
    assert main(["restore", *inputs, "-o", str(out), "--ticket", str(ticket_file)]) == 1
    said = capsys.readouterr().err
    assert "a.png is a folder" in said and "c.png exists" in said and "lost.png does not exist" in said


def test_originals_are_not_taken_for_restored(
    album: Path, ticket_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in album.iterdir()}
    command = ["restore", str(album), "-o", str(album), "--ticket", str(ticket_file)]
    assert main(command) == 2
    assert "a.png would be written over itself" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in album.iterdir()} == before
    assert main([*command, "--force"]) == 0


def test_a_file_that_is_there_stays_unless_forced(album: Path, ticket_file: Path, capsys: Any) -> None:
    command = ["restore", str(album / "a.png"), "-o", str(album / "c.png"), "--ticket", str(ticket_file)]
    before = (album / "c.png").read_bytes()
    assert main(command) == 2 and (album / "c.png").read_bytes() == before
    assert "c.png exists; --force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert np.array_equal(np.asarray(Image.open(album / "c.png")), np.asarray(Image.open(album / "a.png")))


def test_threads_are_passed_on(
    album: Path, ticket_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def made(*positional: Any, **named: Any) -> Restorer:
        given.append(named["threads"])
        return Restorer(*positional, **named)

    monkeypatch.setattr("mirl.command.restore.Restorer", made)
    command = ["restore", str(album), "-o", str(tmp_path / "out"), "--ticket", str(ticket_file)]
    assert main([*command, "--threads", "2"]) == 0 and given == [2]


def test_a_full_disk_stops_it_all(
    album: Path, ticket_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    tried = []

    def full(photograph: object, path: Path, force: bool) -> None:
        tried.append(path)
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(image_file, "write", full)
    assert main(["restore", str(album), "-o", str(tmp_path / "out"), "--ticket", str(ticket_file)]) == 2
    assert len(tried) == 1 and "the disk is full" in capsys.readouterr().err


def test_memory_is_passed_on(album: Path, ticket_file: Path, tmp_path: Path, capsys: Any) -> None:
    command = ["restore", str(album / "a.png"), "-o", str(tmp_path), "--ticket", str(ticket_file)]
    assert main([*command, "--memory", "1K"]) == 2
    assert "memory is too little" in capsys.readouterr().err


def test_a_damaged_ticket(album: Path, ticket_file: Path, tmp_path: Path, capsys: Any) -> None:
    ticket_file.write_bytes(ticket_file.read_bytes()[:-3])
    assert main(["restore", str(album), "-o", str(tmp_path / "out"), "--ticket", str(ticket_file)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mirl: error: ") and said.count("\n") == 1 and str(ticket_file) in said
    assert not (tmp_path / "out").exists()


class Pipe:
    """Standard input or output of a process."""

    def __init__(self, content: bytes = b"", is_terminal: bool = False) -> None:
        self.buffer = io.BytesIO(content)
        self.isatty = lambda: is_terminal
        self.flush = lambda: None


@pytest.mark.parametrize(("format", "expected"), [(None, "WEBP"), ("png", "PNG"), ("tiff", "TIFF")])
def test_through_pipes(
    format: str | None, expected: str, ticket_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    picture, file = Image.fromarray(np.full((5, 6, 3), 40, np.uint8)), io.BytesIO()
    picture.save(file, "WEBP", lossless=True)
    out = Pipe()
    monkeypatch.setattr(sys, "stdin", Pipe(file.getvalue()))
    monkeypatch.setattr(sys, "stdout", out)
    command = ["restore", "-", "-o", "-", "--ticket", str(ticket_file)]
    assert main([*command, *(["--format", format] if format else [])]) == 0
    restored = Image.open(out.buffer)
    assert restored.format == expected and np.array_equal(np.asarray(restored), np.asarray(picture))
    assert "restored standard input to standard output" in capsys.readouterr().err


def test_no_picture_goes_to_a_terminal(
    album: Path, ticket_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "stdout", Pipe(is_terminal=True))
    assert main(["restore", str(album / "a.png"), "-o", "-", "--ticket", str(ticket_file)]) == 2
    assert "to the terminal" in capsys.readouterr().err


def test_a_format_is_for_standard_output_only(album: Path, ticket_file: Path, capsys: Any) -> None:
    command = ["restore", str(album / "a.png"), "-o", str(album / "new.png"), "--ticket", str(ticket_file)]
    assert main([*command, "--format", "png"]) == 2
    assert "--format is for standard output" in capsys.readouterr().err


def test_the_same_file_in_and_out(album: Path, ticket_file: Path, capsys: Any) -> None:
    before = (album / "a.png").read_bytes()
    command = ["restore", str(album / "a.png"), "-o", str(album / "a.png"), "--ticket", str(ticket_file)]
    assert main(command) == 2 and (album / "a.png").read_bytes() == before
    assert "exists; --force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0


def test_odd_files_are_named_and_passed_over(
    album: Path, ticket_file: Path, tmp_path: Path, capsys: Any
) -> None:
    (album / "empty.png").touch()
    (album / "loop.png").symlink_to(album / "loop.png")
    (album / "cut off.png").write_bytes((album / "a.png").read_bytes()[:60])
    out = tmp_path / "out"
    given = [str(album), str(album / "loop.png"), "--ticket", str(ticket_file), "-o", str(out)]
    assert main(["restore", *given]) == 1
    said = capsys.readouterr()
    assert "restored 3 of 6 photographs" in said.out
    assert [name in said.err for name in ("empty.png is empty", "loop.png", "cut off.png is broken")] == [
        True
    ] * 3


def test_out_below_a_file(album: Path, ticket_file: Path, capsys: Any) -> None:
    (album / "notes").touch()
    command = ["restore", str(album / "a.png"), "--ticket", str(ticket_file)]
    for out in ("notes/new.png", "notes/sub/"):
        assert main([*command, "-o", str(album / out)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("mirl: error: ") and said.count("\n") == 1 and "notes" in said


def test_progress_is_for_terminals_and_reaches_the_end(
    album: Path, ticket_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    (album / "b.png").touch()
    assert main(["restore", str(album), "-o", str(tmp_path / "out"), "--ticket", str(ticket_file)]) == 1
    said = capsys.readouterr().err
    assert "1 of 4:   0%" in said and "left" in said


def test_help_has_examples(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["restore", "--help"])
    said = capsys.readouterr().out
    assert "mirl restore - -o - < in.jpg > out.jpg" in said and "exit codes: 0" in said
