"""Metadata of JPEG files. Standards: ITU-T T.871 (JFIF), EXIF 2.32, XMP part 3, ICC.1 annex B."""

import struct
from typing import Any

from mirl.errors import UserError
from mirl.pictures.jpeg import SCAN, segments
from mirl.restore.metadata.exif import PREFIX, orientation, resolution_mm
from mirl.restore.metadata.metadata import Metadata, Resolution
from mirl.restore.metadata.photoshop import without_thumbnails

MOST = 2**16 - 3
"""Bytes of a segment."""
_JFIF, _APP1, _APP2, _PHOTOSHOP, _COMMENT = 0xE0, 0xE1, 0xE2, 0xED, 0xFE
_XMP, _MORE_XMP = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_ICC, _IRB = b"ICC_PROFILE\0", b"Photoshop 3.0\0"
_MM = {1: 25.4, 2: 10.0}
"""Unit of JFIF's density -> millimetres; 0 is a relation of sides."""


def read(data: bytes) -> Metadata:
    """Return what the segments say."""
    found, profile, own = dict[str, Any](), list[bytes](), list[tuple[int | bytes, bytes]]()
    density = None
    for marker, start, end in segments(data):
        if marker == SCAN:
            break
        body = data[start:end]
        if marker == _JFIF and body.startswith(b"JFIF\0") and len(body) >= 12:
            density = struct.unpack(">BHH", body[7:12])
        elif marker == _APP1 and body.startswith(PREFIX):
            found.setdefault("exif", body.removeprefix(PREFIX))
        elif marker == _APP1 and body.startswith(_XMP):
            found.setdefault("xmp", body.removeprefix(_XMP))
        elif marker == _APP2 and body.startswith(_ICC):
            profile.append(body.removeprefix(_ICC))
        elif marker == _PHOTOSHOP and body.startswith(_IRB):
            own.append((marker, _IRB + without_thumbnails(body.removeprefix(_IRB))))
        elif marker == _COMMENT or (marker == _APP1 and body.startswith(_MORE_XMP)):
            own.append((marker, body))
    icc = b"".join(part[2:] for part in sorted(profile, key=lambda part: part[:1]))
    exif = found.get("exif", b"")
    return Metadata(
        **found,
        icc=icc,
        orientation=orientation(exif, found.get("xmp", b"")),
        resolution=_resolution(density, exif),
        own=tuple(own),
        own_format="JPEG",
    )


def write(bare: bytes, metadata: Metadata) -> bytes:
    """Return the file with the segments that say it. Raises UserError if one is longer than a segment may be."""
    parts = [(_JFIF, b"JFIF\0\1\1" + _density(metadata.resolution) + bytes(2))]
    if metadata.exif:
        parts.append((_APP1, PREFIX + metadata.exif))
    if metadata.xmp:
        parts.append((_APP1, _XMP + metadata.xmp))
    size = MOST - len(_ICC) - 2
    pieces = [metadata.icc[start : start + size] for start in range(0, len(metadata.icc), size)]
    if len(pieces) > 255:
        raise _too_long("colour profile", len(metadata.icc))
    parts += [
        (_APP2, _ICC + bytes([number, len(pieces)]) + piece) for number, piece in enumerate(pieces, start=1)
    ]
    parts += [(int(kind), body) for kind, body in metadata.of("JPEG") if isinstance(kind, int)]
    for what, body in (("EXIF", PREFIX + metadata.exif), ("XMP", _XMP + metadata.xmp)):
        if len(body) > MOST:
            raise _too_long(what, len(body))
    written = [struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in parts]
    return bare[:2] + b"".join(written) + bare[2:]


def _too_long(what: str, length: int) -> UserError:
    return UserError(f"JPEG cannot hold its {what} of {length / 1024:.0f} KiB; write a .png, .webp or .tif")


def _resolution(density: tuple[int, int, int] | None, exif: bytes) -> Resolution | None:
    """Return the density of JFIF if it has a unit, else that of EXIF, else JFIF's relation of sides."""
    unit, x, y = density or (0, 0, 0)
    if unit in _MM and x and y:
        return Resolution(x / _MM[unit], y / _MM[unit])
    if per_mm := resolution_mm(exif):
        return Resolution(*per_mm)
    return Resolution(x, y, absolute=False) if unit == 0 and x and y and x != y else None


def _density(resolution: Resolution | None) -> bytes:
    """Return unit and density of JFIF: of inches, unless centimetres alone give whole numbers."""
    if resolution is None:
        return struct.pack(">BHH", 0, 1, 1)
    sides, unit = (resolution.x, resolution.y), 0
    if resolution.absolute:
        units = {unit: [side * mm for side in sides] for unit, mm in _MM.items()}
        unit = min(units, key=lambda unit: max(abs(value - round(value)) > 0.01 for value in units[unit]))
        sides = (units[unit][0], units[unit][1])
    else:
        largest = max(*sides, 1e-9)
        sides = sides if largest < 2**16 else (sides[0] / largest * 60_000, sides[1] / largest * 60_000)
    return struct.pack(">BHH", unit, *(min(max(round(side), 1), 2**16 - 1) for side in sides))
