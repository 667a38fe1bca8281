"""What `mirl restore` leaves out is said."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirl.command.main import main


@pytest.fixture
def album(tmp_path: Path) -> Path:
    (tmp_path / "album").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(np.full((5, 6, 3), 40, np.uint8)).save(tmp_path / "album" / name)
    return tmp_path / "album"


def test_the_summary_counts_everything_that_was_seen(
    album: Path, ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (album / "gone.jfif").symlink_to(tmp_path / "gone")
    for name in ("a.NEF", "b.heic", "c.heic"):
        (album / name).touch()
    command = ["restore", str(album), "-o", str(tmp_path / "out"), "--ticket", str(ticket_file)]
    for _ in range(2):
        assert main(command) == 1
        said = capsys.readouterr()
        assert (
            "of 4 photographs" in said.out
            and "left out: 2 .heic, 1 .nef; they do not end in .png" in said.out
        )
        assert said.err.count("\n") == 1 and "gone.jfif does not exist" in said.err


def test_an_output_that_cannot_be_written_becomes_no_folder(
    album: Path, ticket_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "restored.heic"
    assert main(["restore", str(album / "a.png"), "-o", str(out), "--ticket", str(ticket_file)]) == 2
    assert "restored.heic has none of the endings" in capsys.readouterr().err and not out.exists()
