import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirl.config import UserError
from mirl.restore import image_file
from mirl.restore.codec import FORMATS
from mirl.restore.photograph import Photograph


def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_ending_chooses_the_format(suffix: str, tmp_path: Path) -> None:
    target = tmp_path / f"out of\nhere{suffix.upper()}"
    image_file.write(Photograph(rgb_HWC=np.full((7, 5, 3), 99, np.uint8)), target)
    assert np.abs(image_file.read(target).rgb_HWC.astype(int) - 99).max() <= 1
    assert Image.open(target).format == FORMATS[suffix]


def test_long_names_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 251 + ".png")
    image_file.write(Photograph(rgb_HWC=pixels()), target)
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lost\.png does not exist"):
        image_file.read(tmp_path / "lost.png")


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_text("precious")
    (tmp_path / "link").hardlink_to(target)
    photograph = Photograph(rgb_HWC=pixels())
    with pytest.raises(UserError, match="exists; --force"):
        image_file.write(photograph, target)
    assert target.read_text() == "precious"
    image_file.write(photograph, target, force=True)
    assert np.array_equal(np.asarray(Image.open(target)), photograph.rgb_HWC)
    assert (tmp_path / "link").read_text() == "precious"  # another file took the name: never half of each


def test_a_link_to_nowhere_is_something_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "out.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match="exists; --force"):
        image_file.write(Photograph(rgb_HWC=pixels()), tmp_path / "out.png")


def test_a_file_that_came_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.png"
    monkeypatch.setattr(os, "fsync", lambda descriptor: target.write_text("precious"))
    with pytest.raises(UserError, match="exists; --force"):
        image_file.write(Photograph(rgb_HWC=pixels()), target)
    assert target.read_text() == "precious" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_was_there_stays_if_it_cannot_be_finished(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise error

    target = tmp_path / "out.jpg"
    target.write_text("precious")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)) as caught:
        image_file.write(Photograph(rgb_HWC=pixels()), target, force=True)
    assert target.read_text() == "precious" and list(tmp_path.iterdir()) == [target]
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(target)


def test_an_ending_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the endings"):
        image_file.write(Photograph(rgb_HWC=pixels()), tmp_path / "out.gif")
    assert list(tmp_path.iterdir()) == []
