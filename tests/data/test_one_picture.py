"""Training data: no preview for a picture, no part for a whole, and large photographs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirl.config import UserError
from mirl.data.images import SUFFIXES, image_files, read_image
from mirl.pictures.jpeg import SUFFIXES as OF_JPEG
from mirl.restore.codec import FORMATS
from tests.pictures.made import LARGE, PREVIEWS, WITH_COPIES, dropped, saved, scene, zeros


@pytest.mark.parametrize("name", PREVIEWS)
def test_a_preview_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(PREVIEWS[name])
    with pytest.raises(UserError, match=r"a\.tif "):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("name", WITH_COPIES)
def test_of_several_sizes_the_full_one_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(WITH_COPIES[name])
    assert np.array_equal(read_image(tmp_path / "a.tif"), LARGE)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_moving_frames_are_refused(format: str, tmp_path: Path) -> None:
    image = Image.fromarray(scene())
    image.save(tmp_path / "a", format, save_all=True, append_images=[image.rotate(180)])
    with pytest.raises(UserError, match="holds 2 moving frames"):
        read_image(tmp_path / "a")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_damaged_jpeg_is_refused_and_an_odd_one_is_not(mode: str, tmp_path: Path) -> None:
    data = saved(Image.fromarray(scene(200, 260)).convert(mode), "JPEG")
    path = tmp_path / "a.jfif"
    for spoilt in (zeros(data, len(data) // 2, 100), dropped(data, len(data) // 3, 200), data[:-9]):
        path.write_bytes(spoilt)
        with pytest.raises(UserError, match=r"a\.jfif is broken"):
            read_image(path)
    path.write_bytes(data)
    whole = read_image(path)
    for odd in (data + b"behind", data[:-2]):
        path.write_bytes(odd)
        assert np.array_equal(read_image(path), whole)


def test_a_hundred_megapixels_are_a_photograph(tmp_path: Path) -> None:
    Image.new("L", (12_000, 8_400), 9).save(tmp_path / "a.png", compress_level=1)
    found = read_image(tmp_path / "a.png")
    assert found.shape == (8400, 12_000, 3) and (found[::100, ::100] == 9).all()


def test_endings_that_are_restored_are_trained_on_too(tmp_path: Path) -> None:
    assert set(FORMATS) <= SUFFIXES and {".jfif", ".jpe", ".pjpeg"} < set(OF_JPEG)
    for suffix in OF_JPEG:
        (tmp_path / f"a{suffix.upper()}").write_bytes(saved(scene(), "JPEG"))
    assert len(image_files(tmp_path)) == len(OF_JPEG)
