"""Metadata of WebP files. Standard: RFC 9649."""

import struct
from collections.abc import Iterator

from mirl.restore.metadata.exif import PREFIX, orientation, resolution_mm
from mirl.restore.metadata.metadata import Metadata, Resolution

_ICC, _ALPHA, _EXIF, _XMP = 0x20, 0x10, 0x08, 0x04
"""Flags of the chunk VP8X."""


def read(data: bytes) -> Metadata:
    """Return what the chunks say."""
    found = dict(_chunks(data))
    exif = found.get(b"EXIF", b"").removeprefix(PREFIX)
    xmp = found.get(b"XMP ", b"")
    per_mm = resolution_mm(exif)
    return Metadata(
        icc=found.get(b"ICCP", b""),
        exif=exif,
        xmp=xmp,
        orientation=orientation(exif, xmp),
        resolution=Resolution(*per_mm) if per_mm else None,
    )


def write(bare: bytes, metadata: Metadata) -> bytes:
    """Return the lossless file `bare` with the chunks that say it."""
    if not (metadata.icc or metadata.exif or metadata.xmp):
        return bare
    picture = dict(_chunks(bare))[b"VP8L"]
    sides = int.from_bytes(picture[1:5], "little")  # 14 bits each, less one, then whether there is alpha
    width, height, alpha = sides & 0x3FFF, sides >> 14 & 0x3FFF, sides >> 28 & 1
    flags = (
        _ICC * bool(metadata.icc) | _ALPHA * alpha | _EXIF * bool(metadata.exif) | _XMP * bool(metadata.xmp)
    )
    head = struct.pack("<I", flags) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
    chunks = {
        b"VP8X": head,
        b"ICCP": metadata.icc,
        b"VP8L": picture,
        b"EXIF": metadata.exif,
        b"XMP ": metadata.xmp,
    }
    body = b"WEBP" + b"".join(_chunk(kind, body) for kind, body in chunks.items() if body)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(data):
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        yield data[place : place + 4], data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
