import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirl.config import UserError
from mirl.data.images import image_files, read_image
from tests.data.conftest import Draw, Save


def test_pixels_come_back_as_they_were_saved(tmp_path: Path, draw: Draw, save: Save) -> None:
    pixels = draw(1)
    assert np.array_equal(read_image(save(tmp_path / "a.png", pixels)), pixels)


def test_grey_and_opaque_alpha_become_rgb(tmp_path: Path, draw: Draw, save: Save) -> None:
    grey = draw(1)[..., 0]
    assert np.array_equal(read_image(save(tmp_path / "g.png", grey)), np.dstack([grey] * 3))
    opaque = np.dstack([draw(1), np.full(grey.shape, 255, np.uint8)])
    assert np.array_equal(read_image(save(tmp_path / "a.png", opaque)), draw(1))


def test_exif_rotation_is_undone(tmp_path: Path, draw: Draw) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    Image.fromarray(draw(1, 80, 100)).save(tmp_path / "r.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "r.png"), np.rot90(draw(1, 80, 100), -1))


def _truncated(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp"])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, save: Save, ending: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = save(tmp_path / f"half.{ending}", noise)
    _truncated(path)
    with pytest.raises(UserError, match=f"half.{ending} is"):
        read_image(path)


def test_what_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(UserError, match=r"text\.png is not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(UserError, match=r"gone\.png does not exist"):
        read_image(tmp_path / "gone.png")


def test_more_than_8_bits_are_refused(tmp_path: Path, save: Save) -> None:
    with pytest.raises(UserError, match="more than 8 bits"):
        read_image(save(tmp_path / "deep.png", np.full((8, 8), 40_000, np.uint16)))
    with pytest.raises(UserError, match="more than 8 bits"):
        read_image(save(tmp_path / "float.tif", np.full((8, 8), 0.5, np.float32)))


def test_16_bit_colour_is_refused_although_pillow_calls_it_rgb(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\x12\x34" * 12 for _ in range(4))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    with pytest.raises(UserError, match="more than 8 bits"):
        read_image(tmp_path / "deep.png")


def test_see_through_pictures_are_refused(tmp_path: Path, draw: Draw, save: Save) -> None:
    half = np.dstack([draw(1), np.full(draw(1).shape[:2], 128, np.uint8)])
    with pytest.raises(UserError, match="transparent"):
        read_image(save(tmp_path / "a.png", half))


def test_a_folder_lists_its_images_by_name_and_nothing_else(tmp_path: Path, draw: Draw, save: Save) -> None:
    for name in ("b.png", "a.JPG", ".hidden.png"):
        save(tmp_path / name, draw(1))
    (tmp_path / "readme.txt").write_text("")
    assert [path.name for path in image_files(tmp_path)] == ["a.JPG", "b.png"]


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        image_files(tmp_path / "gone")
    with pytest.raises(UserError, match="has no image files"):
        image_files(tmp_path)


def test_no_file_begins_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = tmp_path / "bin"
    traces.mkdir()
    (traces / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path / 'begun'}\n")
    (traces / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{traces}:/usr/bin:/bin")
    (tmp_path / "evil.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(UserError, match="not an image that can be read"):
        read_image(tmp_path / "evil.png")
    assert not (tmp_path / "begun").exists()


def test_a_picture_of_too_many_pixels_is_refused_undecoded(tmp_path: Path) -> None:
    Image.new("1", (13_400, 13_400)).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match=r"bomb\.png is too large"):
        read_image(tmp_path / "bomb.png")
