from pathlib import Path

import numpy as np
import pytest

from mirl.config import UserError
from mirl.data import manifest
from mirl.data.manifest import Row
from mirl.data.packed import MANIFEST, PIXELS, PackedImages, PixelWriter, pixel_sha256
from tests.data.conftest import Draw


@pytest.fixture
def packed(tmp_path: Path, draw: Draw) -> Path:
    """A clean photograph, its depth, and a pair that shares its pixels."""
    depth = np.linspace(0.1, 1, 8000, dtype=np.float32).reshape(80, 100)
    pictures = [
        ("p", "", "clean", draw(1)),
        ("p", "", "depth", depth),
        ("q", "derain", "clean", draw(1)),
        ("q", "derain", "degraded", draw(2)),
    ]
    rows = []
    with PixelWriter(tmp_path / PIXELS) as writer:
        for image, task, role, pixels in pictures:
            row, sha256 = writer.add(pixels)
            rows.append(
                Row(
                    image=image, source="s", split="train", task=task, role=role, pair="", height=80,
                    width=100, sha256=sha256, row=row,
                )
            )  # fmt: skip
    manifest.write(rows, tmp_path / MANIFEST)
    return tmp_path


def test_pixels_come_back_as_read_only_views(packed: Path, draw: Draw) -> None:
    images = PackedImages(packed)
    assert np.array_equal(images.image(0), draw(1))
    assert images.image(1).dtype == np.float32 and images.image(1).shape == (80, 100)
    assert not images.image(0).flags.owndata and not images.image(0).flags.writeable


def test_identical_pixels_are_stored_once(packed: Path) -> None:
    rows = PackedImages(packed).manifest["row"].tolist()
    assert rows == [0, 1, 0, 2]


def test_shape_and_type_count_in_the_digest_of_pixels(draw: Draw) -> None:
    pixels = draw(1)
    assert pixel_sha256(pixels) != pixel_sha256(pixels.reshape(100, 80, 3))
    assert pixel_sha256(pixels) == pixel_sha256(np.asfortranarray(pixels))


def test_items_are_pairs_for_their_task_and_photographs_for_noise(packed: Path) -> None:
    images = PackedImages(packed)
    (pair,) = images.items("train", "derain")
    assert (pair.image, pair.clean, pair.degraded, pair.depth) == ("q", 0, 2, None)
    (photograph,) = images.items("train", "denoise_25")
    assert (photograph.image, photograph.clean, photograph.degraded, photograph.depth) == ("p", 0, None, 1)
    assert images.photographs("train") == [photograph]
    assert images.items("train", "dehaze") == [] and images.items("test", "derain") == []


def test_verify_names_the_picture_whose_pixels_changed(packed: Path, draw: Draw) -> None:
    PackedImages(packed).verify()
    raw = (packed / PIXELS).read_bytes()
    place = raw.index(draw(2).tobytes()[:64])
    (packed / PIXELS).write_bytes(raw[:place] + b"\x99" + raw[place + 1 :])
    with pytest.raises(UserError, match=r"the pixels of q \(degraded\)"):
        PackedImages(packed).verify()


def test_a_missing_or_cut_pixel_file_is_refused(packed: Path) -> None:
    raw = (packed / PIXELS).read_bytes()
    (packed / PIXELS).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UserError, match="cut off"):
        PackedImages(packed)
    (packed / PIXELS).write_bytes(b"")
    with pytest.raises(UserError, match="cut off"):
        PackedImages(packed)
    (packed / PIXELS).unlink()
    with pytest.raises(UserError, match="does not exist"):
        PackedImages(packed)


def test_pixels_of_another_data_set_are_refused(packed: Path, tmp_path: Path, draw: Draw) -> None:
    with PixelWriter(packed / PIXELS) as writer:
        writer.add(draw(7))
    with pytest.raises(UserError, match="fewer pictures"):
        PackedImages(packed)
