"""What docs/images.md says is kept in which format, tried from every format to every other."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from mirl.restore.codec import FORMATS, decode, encode
from tests.pictures.made import saved, scene

NAMES = sorted(set(FORMATS.values()))
RGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmp:Rating="5"/></x:xmpmeta>'
IRB = b"Photoshop 3.0\x00" + b"8BIM\x04\x04\0\0" + b"\0\0\0\x0a" + b"\x1c\x02\x50\0\x05Maker"


def exif() -> Image.Exif:
    made = Image.Exif()
    made[ExifTags.Base.Model] = "a camera"
    made.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.5
    return made


def png_info() -> PngImagePlugin.PngInfo:
    made = PngImagePlugin.PngInfo()
    made.add_text("Author", "Maker")
    made.add_text("Title", "A title", zip=True)
    made.add_itxt("Description", "größe", "de", "Beschreibung")
    return made


def gamma() -> PngImagePlugin.PngInfo:
    made = PngImagePlugin.PngInfo()
    made.add(b"gAMA", (100_000).to_bytes(4, "big"))
    made.add(
        b"cHRM",
        b"".join(n.to_bytes(4, "big") for n in (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    )
    return made


def xmp(format: str) -> dict[str, Any]:
    if format == "PNG":
        made = PngImagePlugin.PngInfo()
        made.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
        return {"pnginfo": made}
    return {"tiffinfo": {700: XMP}} if format == "TIFF" else {"xmp": XMP}


def with_irb(data: bytes) -> bytes:
    return data[:2] + b"\xff\xed" + (len(IRB) + 2).to_bytes(2, "big") + IRB + data[2:]


def made(row: str, format: str) -> bytes | None:
    """A file of the format with what the row of the table is about; None if the format cannot hold it."""
    text: dict[str, dict[str, Any]] = {
        "PNG": {"pnginfo": png_info()},
        "TIFF": {"tiffinfo": {315: "Maker", 270: "A title"}},
        "JPEG": {"comment": b"Maker"},
    }
    held: dict[str, dict[str, Any] | None] = {
        "colour profile (ICC)": {"icc_profile": RGB},
        "EXIF": None if format == "TIFF" else {"exif": exif()},
        "XMP": xmp(format),
        "pixels per inch": None if format == "WEBP" else {"dpi": (300, 150)},
        "IPTC": {"TIFF": {"tiffinfo": {33723: IRB[-10:]}}, "JPEG": {}}.get(format),
        "text": text.get(format),
        "gamma and primaries": {"pnginfo": gamma()} if format == "PNG" else None,
    }  # fmt: skip
    options = held[row]
    data = None if options is None else saved(scene(), format, **options)
    return with_irb(data) if data and (row, format) == ("IPTC", "JPEG") else data


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def tag(data: bytes, number: int) -> Any:
    if not data.startswith((b"II", b"MM")):
        return None
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return file.pages[0].tags.valueof(number)  # type: ignore[union-attr]


def model(data: bytes) -> Any:
    found = opened(data).getexif()
    return (found.get(ExifTags.Base.Model), found.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ExposureTime))


def the_xmp(data: bytes) -> Any:
    info = opened(data).info
    found = tag(data, 700) or info.get("xmp") or info.get("XML:com.adobe.xmp")
    return found.encode() if isinstance(found, str) else found


def the_text(data: bytes) -> Any:
    info = opened(data).info
    return [
        *(info.get(key) for key in ("Author", "Title", "Description", "comment")),
        tag(data, 315),
        tag(data, 270),
    ]


def the_resolution(data: bytes) -> Any:
    dpi = opened(data).info.get("dpi")
    return dpi and tuple(round(float(side)) for side in dpi)


SEEN: dict[str, Callable[[bytes], Any]] = {
    "colour profile (ICC)": lambda data: opened(data).info.get("icc_profile"),
    "EXIF": model,
    "XMP": the_xmp,
    "pixels per inch": the_resolution,
    "IPTC": lambda data: [IRB in data, tag(data, 33723)],
    "text": the_text,
    "gamma and primaries": lambda data: [opened(data).info.get(key) for key in ("gamma", "chromaticity")],
}
"""Row of the table -> what another library reads of it."""


def table() -> dict[str, dict[str, str]]:
    text = (Path(__file__).parents[3] / "docs" / "images.md").read_text(encoding="utf-8")
    lines = [
        line for line in text.split("What stands beside the pixels")[1].split("\n") if line.startswith("|")
    ]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = rows[: next((n for n, row in enumerate(rows) if len(row) != 5), len(rows))]
    return {row[0]: dict(zip([name.upper() for name in head[1:]], row[1:], strict=True)) for row in rows}


def test_the_table_has_every_row_and_format() -> None:
    assert list(table()) == list(SEEN)
    assert all(sorted(row) == NAMES for row in table().values())


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("row", SEEN)
def test_what_the_table_says_is_kept_and_nothing_else(row: str, source: str, target: str) -> None:
    cell = table()[row][target]
    assert re.fullmatch("kept|-|from (PNG|TIFF|JPEG)", cell)
    before, nothing = made(row, source), saved(scene(), target)
    if before is None:
        assert row != "colour profile (ICC)"
        return
    after = encode(decode(before, "x"), target, "x")
    if cell == "kept" or cell == f"from {source}":
        assert SEEN[row](after) == SEEN[row](before) != SEEN[row](nothing)
    else:
        assert SEEN[row](after) == SEEN[row](encode(decode(nothing, "x"), target, "x"))


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_nothing_is_made_up(source: str, target: str) -> None:
    after = opened(encode(decode(saved(scene(), source), "x"), target, "x"))
    assert after.getexif().get(ExifTags.Base.Model) is None
    assert after.info.get("dpi", (1, 1)) in ((1, 1), (None, None)) or target == "TIFF"
    assert tag(encode(decode(saved(scene(), source), "x"), target, "x"), 296) in (None, 1)
    assert not {"exif", "xmp", "icc_profile", "comment"} & set(after.info)
