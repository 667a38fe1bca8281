import errno
import os
import signal
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mirl.config import UserError
from mirl.files import open_file, read_text, write_whole


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


@pytest.fixture
def special(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """What is at a path and is no file, by its name."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        yield {
            "a pipe": tmp_path / "fifo",
            "a pipe by a link": tmp_path / "link",
            "a socket": tmp_path / "socket",
            "a device": Path("/dev/zero"),
        }


@pytest.mark.parametrize("kind", ["a pipe", "a pipe by a link", "a socket", "a device"])
def test_what_is_no_file_is_refused_without_opening_it(
    kind: str, special: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = special[kind]
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it is opened"))
    sentence = f"{path} is {' '.join(kind.split()[:2])}, not a file; name a file"
    for use in (open_file, read_text, lambda path: write_whole(path, b"x")):
        with pytest.raises(UserError, match=sentence):
            use(path)
    assert not stat.S_ISREG(path.stat().st_mode)


def test_a_pipe_that_takes_the_place_of_a_file_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr("mirl.files.refuse_special", lambda *_: None)  # it was a file then
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it blocks"))
    signal.alarm(20)
    try:
        with pytest.raises(UserError, match="is a pipe"):
            open_file(tmp_path / "fifo")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_text_is_not_read_without_end(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("é")
    assert read_text(path) == "é"
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="no text in UTF-8"):
        read_text(path)
    os.truncate(path, 10**11)
    with pytest.raises(UserError, match="more than 16 MiB"):
        read_text(path)
