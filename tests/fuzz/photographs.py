"""Photographs as people have them, drawn at random: every format with what stands in such files, whole, odd or damaged."""

import io
import random
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from tests.pictures.made import DAMAGE, FILTER_ARRAY, saved, scene

RGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PROFILES = {
    "none": b"",
    "rgb": RGB,
    "grey": RGB[:16] + b"GRAY" + RGB[20:],
    "cmyk": RGB[:16] + b"CMYK" + RGB[20:],
}
THUMBNAIL = b"\xff\xd8a picture of what it was\xff\xd9"
MODES = {
    "PNG": ("L", "LA", "RGB", "RGBA", "P", "1"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("L", "RGB", "RGBA", "CMYK"),
}


@dataclass(frozen=True)
class Case:
    """A file and what is right for it."""

    name: str
    data: bytes
    refused: bool | None
    """None: where nobody can know, as with damage that adds up."""
    profile: bytes = b""
    pixels: np.ndarray | None = None
    """Upright, as another library reads it; None for what it cannot tell."""


def photograph(number: int, seed: int) -> Case:
    """The case of that number."""
    rng = random.Random(f"{seed}/{number}")
    return rng.choice([_ordinary, _ordinary, _ordinary, _several, _channels, _damaged])(rng, number)


def _ordinary(rng: random.Random, number: int) -> Case:
    format = rng.choice(sorted(MODES))
    mode, was = rng.choice(MODES[format]), rng.randint(1, 8)
    profile = rng.choice(sorted(PROFILES))
    image = Image.fromarray(scene(rng.randint(9, 50), rng.randint(9, 50), seed=number)).convert(mode)
    options = _beside(rng, format, was)
    if PROFILES[profile]:
        options["icc_profile"] = PROFILES[profile]
    data = saved(image, format, **options | ({"lossless": True} if format == "WEBP" else {}))
    if format == "JPEG":
        data = rng.choice(
            [data, data[:-2], data + b"behind", data[:-2] + bytes(rng.randint(1, 99)) + data[-2:]]
        )
    rgb = np.asarray(image.convert("RGBA").convert("RGB") if mode != "CMYK" else image.convert("RGB"))
    turns = {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.swapaxes(0, 1),
        6: np.rot90(rgb, -1),
    }
    turns |= {7: np.rot90(rgb, 2).swapaxes(0, 1), 8: np.rot90(rgb)}
    name = f"{number} {format} {mode} turned {was} profile {profile}"
    exact = format != "JPEG" and mode not in ("P", "1")
    return Case(name, data, mode == "CMYK", PROFILES[profile], turns[was] if exact else None)


def _beside(rng: random.Random, format: str, was: int) -> dict[str, Any]:
    xmp = f'<x:xmpmeta tiff:Orientation="{was}" xmp:Rating="5"/>'
    dpi = rng.choice([{}, {"dpi": (rng.randint(1, 999), rng.randint(1, 999))}])
    if format == "TIFF":
        return {"tiffinfo": {274: was, 700: xmp.encode()}, **dpi}
    exif = {"exif": rng.choice([b"", b"Exif\0\0"] if format == "WEBP" else [b"Exif\0\0"]) + _exif(was)}
    if format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp, zip=rng.random() < 0.5)
        return {"pnginfo": info, **exif, **dpi}
    return {"xmp": xmp.encode(), **exif, **(dpi if format == "JPEG" else {})}


def _exif(was: int) -> bytes:
    main = struct.pack("<H", 1) + struct.pack("<HHIH2x", 274, 3, 1, was) + struct.pack("<I", 26)
    small = struct.pack("<HHIH2x", 274, 3, 1, was) + struct.pack("<HHII", 513, 4, 1, 68)
    small += struct.pack("<HHII", 514, 4, 1, len(THUMBNAIL))
    return b"II*\0\x08\0\0\0" + main + struct.pack("<H", 3) + small + bytes(4) + THUMBNAIL


def _several(rng: random.Random, number: int) -> Case:
    """Previews, copies, pages and raw files, in any kind of TIFF."""
    large = scene(rng.randint(20, 60), rng.randint(20, 60), seed=number)
    small, as_children = large[::2, ::2], rng.random() < 0.5
    kind = rng.choice(["preview first", "copy behind", "two pages", "raw"])
    first, second = (small, large) if kind in ("preview first", "raw") else (large, small)
    second = large if kind == "two pages" else second
    reduced: dict[str, Any] = {"subfiletype": 1}
    file = io.BytesIO()
    options: dict[str, Any] = {"bigtiff": rng.random() < 0.3, "byteorder": rng.choice("<>")}
    with tifffile.TiffWriter(file, **options) as writer:
        children: dict[str, Any] = {"subifds": 1} if as_children else {}
        flag: dict[str, Any] = reduced if kind in ("preview first", "raw") and rng.random() < 0.7 else {}
        writer.write(first, photometric="rgb", metadata=None, **children, **flag)
        if kind == "raw":
            writer.write(second[..., 0].astype(np.uint16), metadata=None, **FILTER_ARRAY)
        else:
            writer.write(
                second, photometric="rgb", metadata=None, **(reduced if kind == "copy behind" else {})
            )
    whole = kind == "copy behind"
    name = f"{number} TIFF {kind} {'SubIFD' if as_children else 'page'}"
    return Case(name, file.getvalue(), not whole, pixels=large if whole else None)


def _channels(rng: random.Random, number: int) -> Case:
    """Up to three channels beside the colours, of 8 or 16 bits."""
    grey, deep = rng.random() < 0.5, rng.random() < 0.5
    extra = [rng.choice(["unspecified", "unassalpha"]) for _ in range(rng.randint(1, 3))]
    samples = scene(20, 30, (1 if grey else 3) + len(extra), seed=number)
    samples = samples.astype(np.uint16) * 257 if deep else samples
    file = io.BytesIO()
    given: dict[str, Any] = {"photometric": "minisblack" if grey else "rgb", "planarconfig": "contig"}
    tifffile.imwrite(file, samples, extrasamples=extra, metadata=None, **given)
    colours = samples[..., :1].repeat(3, 2) if grey else samples[..., :3]
    return Case(f"{number} TIFF {extra}", file.getvalue(), extra != ["unassalpha"], pixels=colours)


def _damaged(rng: random.Random, number: int) -> Case:
    ways: list[dict[str, Any]] = [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}]
    options = rng.choice(ways)
    data = saved(scene(60, 80, seed=number), "JPEG", **options)
    damage = rng.choice(DAMAGE)
    start = rng.randrange(len(data) // 3, len(data) * 2 // 3)
    return Case(f"{number} JPEG {damage.__name__} {options}", damage(data, start, rng.randint(30, 300)), None)
