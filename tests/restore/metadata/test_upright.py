"""What EXIF, XMP and the rest say of a photograph that was turned, and of profiles that do not fit it."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from mirl.config import UserError
from mirl.restore.codec import FORMATS, decode, encode
from mirl.restore.metadata.exif import orientation, upright_exif, upright_xmp
from mirl.restore.metadata.photoshop import without_thumbnails
from tests.pictures.made import saved, scene

NAMES = sorted(set(FORMATS.values()))
THUMBNAIL = saved(scene(8, 12), "JPEG")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6" xmp:Rating="5"/>'
    b"<xmp:Thumbnails>old</xmp:Thumbnails></x:xmpmeta>"
)
RGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = RGB[:16] + b"GRAY" + RGB[20:]


def exif_of(was: int, order: str = "<") -> bytes:
    """EXIF with an orientation, a resolution of 300 x 150, a size, and a thumbnail that has an orientation too."""
    main = [
        (0x0112, 3, 1, was),
        (0x011A, 5, 1, 200),
        (0x011B, 5, 1, 208),
        (0x0128, 3, 1, 2),
        (0x8769, 4, 1, 80),
    ]
    inner = [(0xA002, 4, 1, 96), (0xA003, 3, 1, 64)]
    small = [(0x0112, 3, 1, was), (0x0201, 4, 1, 216), (0x0202, 4, 1, len(THUMBNAIL))]

    def directory(entries: list[tuple[int, int, int, int]], following: int) -> bytes:
        form = {3: "H2x", 4: "I", 5: "I"}
        parts = [
            struct.pack(f"{order}HHI{form[kind]}", tag, kind, n, value) for tag, kind, n, value in entries
        ]
        return struct.pack(order + "H", len(entries)) + b"".join(parts) + struct.pack(order + "I", following)

    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    begin = (head + directory(main, 112)).ljust(80, b"\0") + directory(inner, 0)
    begin = begin.ljust(112, b"\0") + directory(small, 0)
    return begin.ljust(200, b"\0") + struct.pack(order + "4I", 300, 1, 150, 1) + THUMBNAIL


def turned(format: str, was: int, **options: Any) -> bytes:
    if format == "TIFF":
        return saved(scene(), format, tiffinfo={274: was, 700: XMP}, dpi=(300, 150), **options)
    if format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    else:
        options["xmp"] = XMP
    exif = exif_of(was)
    return saved(scene(), format, exif=exif if format == "WEBP" else b"Exif\0\0" + exif, **options)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("was", range(1, 9))
def test_exif_says_upright_and_has_no_thumbnail_and_nothing_else_moves(was: int, order: str) -> None:
    before = exif_of(was, order)
    after = upright_exif(before, was)
    assert (orientation(before, b""), orientation(after, b"")) == (was, 1)
    assert len(after) == len(before) and THUMBNAIL in before and THUMBNAIL not in after
    found = Image.Exif()
    found.load(b"Exif\0\0" + after)
    swapped = was > 4
    inner = found.get_ifd(ExifTags.IFD.Exif)
    assert (inner[0xA002], inner[0xA003]) == ((64, 96) if swapped else (96, 64))
    assert (found[0x011A], found[0x011B]) == ((150, 300) if swapped else (300, 150))
    assert found.get_ifd(ExifTags.IFD.IFD1) == {}


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("was", [1, 3, 6, 7])
def test_a_turned_photograph_says_nowhere_that_it_is_turned(was: int, source: str, target: str) -> None:
    data = turned(source, was)
    photograph = decode(data, "x")
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.abs(photograph.rgb_HWC.astype(int) - shown).max() <= 3
    after = encode(photograph, target, "x")
    image = Image.open(io.BytesIO(after))
    assert image.size == shown.shape[1::-1] and image.getexif().get(274, 1) == 1
    assert b'tiff:Orientation="6"' not in after and b'tiff:Orientation="1"' in after
    assert b'Rating="5"' in after and THUMBNAIL not in after and b"Thumbnails" not in after
    if target in ("TIFF", "JPEG"):
        dpi = tuple(round(float(side)) for side in image.info["dpi"])
        assert dpi == ((150, 300) if was > 4 else (300, 150))


def test_where_exif_does_not_say_how_it_lies_xmp_does() -> None:
    data = saved(scene(), "JPEG", xmp=XMP)
    assert decode(data, "x").rgb_HWC.shape == (96, 64, 3)
    assert orientation(exif_of(1), XMP) == 1 and orientation(b"", XMP) == 6
    assert orientation(exif_of(0), b"") == orientation(exif_of(9), b"") == orientation(b"rubbish", b"") == 1
    elements = b"<tiff:Orientation>8</tiff:Orientation>"
    assert orientation(b"", elements) == 8 and upright_xmp(elements) == elements.replace(b"8", b"1")


def test_exif_that_cannot_be_read_stays_as_it_is() -> None:
    whole = exif_of(6)
    for spoilt in (b"", b"MM", b"rubbish" * 9, whole[:40], whole[:4] + b"\xff" * 4 + whole[8:]):
        assert len(upright_exif(spoilt, 6)) == len(spoilt)


def test_exif_that_imagemagick_wrote_as_text_is_exif() -> None:
    info = PngImagePlugin.PngInfo()
    profile = b"Exif\0\0" + exif_of(6)
    info.add_text("Raw profile type exif", f"\nexif\n{len(profile):8}\n{profile.hex()}\n", zip=True)
    after = encode(decode(saved(scene(), "PNG", pnginfo=info), "x"), "PNG", "x")
    image = Image.open(io.BytesIO(after))
    image.load()
    assert image.size == (64, 96) and image.getexif()[274] == 1 and "Raw profile type exif" not in image.info


def test_photoshops_thumbnails_go_and_its_other_resources_stay() -> None:
    other, small = b"8BIM\x04\x04\0\0\0\0\0\x03abc\0", b"8BIM\x04\x0c\0\0\0\0\0\x02tt"
    assert without_thumbnails(other + small + other) == other + other
    for odd in (b"", b"8BIM", b"rubbish", other[:9]):
        assert without_thumbnails(odd) == odd


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize(("channels", "profile"), [(1, RGB), (3, GREY), (1, GREY)])
def test_a_profile_of_the_wrong_kind_stays(source: str, target: str, channels: int, profile: bytes) -> None:
    photograph = decode(saved(scene(channels=channels), source, icc_profile=profile), "x")
    if target == "WEBP" and channels == 1 and profile == GREY:
        with pytest.raises(UserError, match="the profile of a grey photograph"):
            encode(photograph, target, "x")
        return
    assert Image.open(io.BytesIO(encode(photograph, target, "x"))).info["icc_profile"] == profile


@pytest.mark.parametrize("what", ["exif", "xmp"])
def test_what_no_segment_holds_is_refused_for_jpeg(what: str) -> None:
    given = {what: exif_of(1) + bytes(70_000) if what == "exif" else XMP + b" " * 70_000}
    photograph = decode(saved(scene(), "WEBP", **given), "x")
    with pytest.raises(
        UserError, match=rf"^photo\.jpg: JPEG cannot hold its {what.upper()} of 6\d KiB; write a \.png"
    ):
        encode(photograph, "JPEG", "photo.jpg")
    assert encode(photograph, "PNG", "x")


def test_a_long_profile_takes_several_segments() -> None:
    profile = RGB + np.random.default_rng(0).bytes(200_000)
    after = encode(decode(saved(scene(), "TIFF", icc_profile=profile), "x"), "JPEG", "x")
    assert Image.open(io.BytesIO(after)).info["icc_profile"] == profile


def test_a_resolution_without_a_unit_has_none_afterwards() -> None:
    data = saved(scene(), "JPEG")
    density = data.find(b"JFIF\0") + 7
    data = data[:density] + struct.pack(">BHH", 0, 2, 1) + data[density + 5 :]
    again = encode(decode(data, "x"), "JPEG", "x")
    assert again[again.find(b"JFIF\0") + 7 :][:5] == struct.pack(">BHH", 0, 2, 1)
    png = encode(decode(data, "x"), "PNG", "x")
    assert png[png.find(b"pHYs") + 12] == 0
