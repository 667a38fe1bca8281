import multiprocessing
import time
from pathlib import Path

import pytest

from mirl.config import UserError
from mirl.study.workspace import Workspace, read_json, write_json


def test_a_folder_is_made_whole(tmp_path: Path) -> None:
    files = Workspace(tmp_path)
    with files.making(files.ticket("a")) as draft:
        (draft / "x").write_text("1")
        assert not files.ticket("a").exists()
    assert [path.name for path in files.ticket("a").iterdir()] == ["x"]


def test_at_an_error_the_old_folder_stays_and_nothing_is_left(tmp_path: Path) -> None:
    files = Workspace(tmp_path)
    with files.making(files.ticket("a")) as draft:
        (draft / "x").write_text("old")
    with pytest.raises(OSError, match="disk"), files.making(files.ticket("a")) as draft:
        (draft / "x").write_text("new")
        raise OSError("disk")
    assert (files.ticket("a") / "x").read_text() == "old"
    assert not list((tmp_path / ".mirl" / "making").glob("*/"))


def test_what_a_kill_left_is_not_taken_over(tmp_path: Path) -> None:
    files = Workspace(tmp_path)
    left = tmp_path / ".mirl" / "making" / "tickets--a"
    left.mkdir(parents=True)
    (left / "half").write_text("?")
    with files.making(files.ticket("a")) as draft:
        assert list(draft.iterdir()) == []


def _hold(root: Path, seconds: float) -> None:
    files = Workspace(root)
    with files.making(files.ticket("a")):
        (root / "held").touch()
        time.sleep(seconds)


def test_two_makers_of_one_folder_the_second_is_refused_with_the_pid(tmp_path: Path) -> None:
    files = Workspace(tmp_path)
    other = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path, 20))
    other.start()
    try:
        while not (tmp_path / "held").exists():
            time.sleep(0.02)
        with (
            pytest.raises(
                UserError, match=rf"tickets/a is being made by another process \(pid {other.pid}\)"
            ),
            files.making(files.ticket("a")),
        ):
            pass
        with files.making(files.ticket("b")):
            pass
    finally:
        other.kill()
        other.join()
    with files.making(files.ticket("a")):
        pass


def test_json_that_is_missing_or_damaged_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`dvc repro` makes it"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(UserError, match="is not JSON"):
        read_json(tmp_path / "a.json")


def test_a_number_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"psnr_db/mean": float("nan")})


@pytest.mark.parametrize("name", ["../x", "/etc", "", "-x", "a/b"])
def test_a_ticket_of_another_place_has_no_folder(tmp_path: Path, name: str) -> None:
    for folder in (Workspace(tmp_path).ticket, Workspace(tmp_path).scores):
        with pytest.raises(UserError, match="a ticket's name is"):
            folder(name)
