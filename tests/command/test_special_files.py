"""Pipes, devices and what has no end, wherever a command takes a file: refused at once, in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirl.command.main import main
from mirl.restore import image_file

SECONDS = 60
"""After which a command has blocked, also on a busy machine."""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(np.full((5, 6, 3), 40, np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Nobody ever writes into it."""
    os.mkfifo(tmp_path / "fifo.png")
    return tmp_path / "fifo.png"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("inspect FIFO", "FIFO is a pipe, not a file; save what it gives as a file first"),
        ("inspect /dev/zero", "/dev/zero is a device, not a file; save what it gives"),
        ("inspect /proc/version", "/proc/version cannot be read"),
        ("pack FIFO -o new.safetensors", "FIFO is a pipe"),
        ("export FIFO -o new.pt2", "FIFO is a pipe"),
        ("serve --ticket FIFO --port 0", "FIFO is a pipe"),
        ("restore PHOTO -o new.png --ticket FIFO", "FIFO is a pipe"),
        (
            "restore FIFO -o new.png --ticket TICKET",
            "FIFO is a pipe, not a file; a picture that a pipe gives is named -",
        ),
        ("restore /dev/zero -o new.png --ticket TICKET", "/dev/zero is a device"),
        ("restore /proc/self/pagemap -o new.png --ticket TICKET", "/proc/self/pagemap is not an image"),
        ("restore PHOTO -o FIFO --force --ticket TICKET", "FIFO is a pipe, not a file; name a file to write"),
        ("pack TICKET -o /dev/null --force", "/dev/null is a device, not a file; name a file to write"),
        ("cost --params FIFO", "FIFO is a pipe"),
        ("dry-run --params /dev/zero", "/dev/zero is a device"),
    ],
)
def test_it_is_refused_at_once(
    command: str, sentence: str, photo: Path, fifo: Path, ticket_file: Path, tmp_path: Path
) -> None:
    names = {"FIFO": str(fifo), "PHOTO": str(photo), "TICKET": str(ticket_file)}
    words = [names.get(word, word) for word in command.split()]
    done = subprocess.run(
        [sys.executable, "-m", "mirl.command.main", *words],
        capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    for word, path in names.items():
        sentence = sentence.replace(word, path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"mirl: error: {sentence}")


def test_a_picture_without_an_end_is_not_read(
    photo: Path, ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.truncate(photo, 10**12)
    command = ["restore", str(photo), "-o", str(tmp_path / "out.png"), "--ticket", str(ticket_file)]
    assert main(command) == 2
    assert "has more than 1024.0 MiB; allow more with --memory" in capsys.readouterr().err


def test_standard_input_is_not_read_on_behind_the_memory_nor_where_it_is_no_picture() -> None:
    class Endless:
        read_mib = 0

        def __init__(self, begins: bytes) -> None:
            self._begins = begins

        def read(self, size: int) -> bytes:
            self.read_mib += 1
            return self._begins.ljust(size, b"\0")

    for begins, sentence, most in (
        (b"\x89PNG\r\n\x1a\n", "more than 4.0 MiB", 5),
        (b"", "is not an image", 1),
    ):
        stream = Endless(begins)
        with pytest.raises(ValueError, match=sentence):
            image_file.read_stream(stream, "standard input", 4 * 2**20)  # type: ignore[arg-type]
        assert stream.read_mib == most


def test_standard_input_by_its_path_is_what_stands_behind_it(
    photo: Path, ticket_file: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "mirl.command.main", "restore", "/dev/stdin", "-o", str(tmp_path / "out.png"),
               "--ticket", str(ticket_file)]  # fmt: skip
    piped = subprocess.run(command, input=photo.read_bytes(), capture_output=True, timeout=SECONDS)
    assert (
        piped.returncode == 2
        and b"/dev/stdin is a pipe, not a file; a picture that a pipe gives is named -" in piped.stderr
    )
    with photo.open("rb") as file:
        assert subprocess.run(command, stdin=file, timeout=SECONDS).returncode == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(Image.open(photo)))
