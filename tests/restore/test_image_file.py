import errno
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from mirl.config import UserError
from mirl.restore import image_file
from mirl.restore.image_file import FORMATS, Photograph

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels(height: int = 6, width: int = 9, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), dtype=np.uint8)


def through(image: Image.Image, folder: Path, suffix: str = ".png", **options: Any) -> Image.Image:
    """`image`, saved, read and written again unchanged."""
    image.save(folder / "in.png", **options)
    target = folder / f"out{suffix}"
    image_file.write(image_file.read(folder / "in.png"), target)
    return Image.open(target)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_lossless_formats_keep_every_pixel(suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(pixels())
    assert np.array_equal(through(image, tmp_path, suffix), image)
    image.putalpha(0)  # colours below full transparency are kept as well
    (tmp_path / f"out{suffix}").unlink()
    assert np.array_equal(through(image, tmp_path, suffix), image)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_written_and_read(suffix: str, tmp_path: Path) -> None:
    target = tmp_path / f"out{suffix.upper()}"
    image_file.write(Photograph(rgb_HWC=np.full((7, 5, 3), 99, np.uint8)), target)
    assert np.abs(image_file.read(target).rgb_HWC.astype(int) - 99).max() <= 1
    assert Image.open(target).format == FORMATS[suffix]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_mode_stays(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(pixels(channels=len(mode)).squeeze(), mode)
    assert image.mode == mode
    out = through(image, tmp_path)
    assert out.mode == mode and np.array_equal(out, image)


def test_grey_is_the_mean_of_what_was_restored(tmp_path: Path) -> None:
    Image.new("L", (2, 1), 100).save(tmp_path / "in.png")
    photograph = image_file.read(tmp_path / "in.png")
    assert photograph.rgb_HWC.tolist() == [[[100] * 3] * 2]
    changed = photograph.with_pixels(np.array([[[90, 100, 110], [10, 11, 11]]], np.uint8))
    assert np.asarray(changed.image()).tolist() == [[100, 11]]


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_one_colour_that_is_see_through_becomes_alpha(mode: str, tmp_path: Path) -> None:
    image = Image.new("L", (3, 1), 0)
    image.putdata([0, 7, 7])
    key = {"L": 7, "RGB": (7, 7, 7), "P": 7}[mode]
    out = through(image.convert(mode), tmp_path, transparency=key)
    assert np.asarray(out.getchannel("A")).tolist() == [[255, 0, 0]]


@pytest.mark.parametrize(("orientation", "clockwise"), [(1, 0), (3, 2), (6, 1)])
def test_orientation_is_applied_and_dropped_other_exif_stays(
    orientation: int, clockwise: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Model] = "a camera"
    image = Image.fromarray(pixels())
    out = through(image, tmp_path, exif=exif)
    assert np.array_equal(out, np.rot90(np.asarray(image), -clockwise))
    assert ExifTags.Base.Orientation not in out.getexif()
    assert out.getexif()[ExifTags.Base.Model] == "a camera"


@pytest.mark.parametrize("suffix", FORMATS)
def test_icc_profile_stays(suffix: str, tmp_path: Path) -> None:
    out = through(Image.fromarray(pixels()), tmp_path, suffix, icc_profile=SRGB)
    assert out.info["icc_profile"] == SRGB


def png_of_16_bits(colour_type: int, channels: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", 5, 4, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(5 * channels * 2) for _ in range(4))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_are_refused_in_words(colour_type: int, channels: int, tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(png_of_16_bits(colour_type, channels))
    with pytest.raises(UserError, match=r"deep\.png has 16 bits a channel; only 8"):
        image_file.read(tmp_path / "deep.png")


def test_of_a_telephones_two_pictures_in_one_jpg_the_first_is_read(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 6), "white"), Image.new("RGB", (4, 3))
    first.save(tmp_path / "in.jpg", format="MPO", save_all=True, append_images=[second])
    assert np.array_equal(image_file.read(tmp_path / "in.jpg").rgb_HWC, first)


def test_what_cannot_be_restored_is_refused_in_words(tmp_path: Path) -> None:
    image = Image.fromarray(pixels())
    image.convert("CMYK").save(tmp_path / "print.jpg")
    image.save(tmp_path / "film.webp", save_all=True, append_images=[image.rotate(180)])
    image.save(tmp_path / "scan.tif")
    (tmp_path / "words.png").write_text("not a picture")
    for name, words in {
        "print.jpg": "is CMYK",
        "film.webp": "2 moving frames",
        "scan.tif": "is TIFF",
        "words.png": "is not an image",
        "lost.png": "does not exist",
    }.items():
        with pytest.raises(UserError, match=f"{name} .*{words}|{name} {words}"):
            image_file.read(tmp_path / name)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_is_cut_off_is_refused(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(pixels(80, 90)).save(tmp_path / f"whole{suffix}")
    content = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="is broken or cut off"):
        image_file.read(tmp_path / f"cut{suffix}")


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    target.write_text("precious")
    (tmp_path / "link").hardlink_to(target)
    photograph = Photograph(rgb_HWC=pixels())
    with pytest.raises(UserError, match="exists; --force"):
        image_file.write(photograph, target)
    assert target.read_text() == "precious"
    image_file.write(photograph, target, force=True)
    assert np.array_equal(Image.open(target), photograph.rgb_HWC)
    assert (tmp_path / "link").read_text() == "precious"  # another file took the name: never half of each


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "out.jpg"
    target.write_text("precious")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*/out\.jpg"):
        image_file.write(Photograph(rgb_HWC=pixels()), target, force=True)
    assert target.read_text() == "precious" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "photograph", "words"),
    [
        ("out.tif", Photograph(rgb_HWC=pixels()), "none of the endings"),
        (
            "out.jpg",
            Photograph(rgb_HWC=pixels(), alpha_HW=pixels(channels=1)[..., 0]),
            "cannot hold transparency",
        ),
        ("out.webp", Photograph(rgb_HWC=np.zeros((1, 17_000, 3), np.uint8)), "cannot be written as WEBP"),
    ],
)
def test_what_a_format_cannot_hold(name: str, photograph: Photograph, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        image_file.write(photograph, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
