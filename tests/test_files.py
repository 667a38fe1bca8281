import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mirl.files import write_whole


def test_what_was_there_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)  # the longest names that file systems take have 255 bytes
    path.write_text("old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_last_look_that_objects_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def object_() -> None:
        assert len(list(tmp_path.iterdir())) == 2  # all is written, but for the name
        raise ValueError("taken")

    with pytest.raises(ValueError, match="taken"):
        write_whole(path, b"new", object_)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("parent", ["lost", "file"])
def test_an_error_names_the_file(tmp_path: Path, parent: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as caught:
        write_whole(tmp_path / parent / "x", b"new")
    assert caught.value.filename == str(tmp_path / parent / "x")


def test_the_first_error_is_the_one_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(code: int, *_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", lambda *_: fail(errno.ENOSPC))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: fail(errno.EROFS))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        write_whole(tmp_path / "x", b"new")
    assert caught.value.filename == str(tmp_path / "x")


def test_writers_beside_each_other_do_not_mix(tmp_path: Path) -> None:
    contents = [bytes([number]) * 10_000 for number in range(8)]
    with ThreadPoolExecutor(len(contents)) as threads:
        list(threads.map(lambda data: write_whole(tmp_path / "one", data), contents * 5))
    assert (tmp_path / "one").read_bytes() in contents and len(list(tmp_path.iterdir())) == 1
