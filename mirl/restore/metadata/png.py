"""Metadata of PNG files. Standard: W3C Portable Network Graphics, third edition."""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from mirl.restore.metadata.exif import PREFIX, orientation, resolution_mm
from mirl.restore.metadata.metadata import Metadata, Resolution

HEAD = 33
"""Bytes of signature and header, behind which metadata may stand."""
MOST = 2**25
"""Bytes that a compressed chunk may become."""
OWN = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"tEXt", b"zTXt", b"iTXt")
"""Chunks that stay true and that no other format has: what colours mean, and text."""
_XMP = b"XML:com.adobe.xmp"
_RAW_PROFILE = re.compile(rb"Raw profile type (exif|APP1|xmp|icm|icc)\0")
"""Text by which ImageMagick says what has chunks of its own."""


def read(data: bytes) -> Metadata:
    """Return what the chunks say."""
    found, own = dict[str, Any](), list[tuple[int | bytes, bytes]]()
    resolution = None
    for kind, body in _chunks(data):
        keyword, _, rest = body.partition(b"\0")
        if kind == b"iCCP":
            found["icc"] = _inflated(rest[1:])
        elif kind == b"eXIf":
            found["exif"] = body.removeprefix(PREFIX)
        elif kind == b"pHYs" and len(body) == 9:
            x, y, per_metre = struct.unpack(">IIB", body)
            resolution = Resolution(x / 1000, y / 1000, per_metre == 1) if x and y else None
        elif kind == b"iTXt" and keyword == _XMP:
            found["xmp"] = _text(rest)
        elif raw := _RAW_PROFILE.match(body):
            found = _from_text(raw[1], body[raw.end() :], kind) | found
        elif kind in OWN:
            own.append((kind, body))
    in_exif = resolution_mm(found.get("exif", b""))
    return Metadata(
        **found,
        orientation=orientation(found.get("exif", b""), found.get("xmp", b"")),
        resolution=resolution or (Resolution(*in_exif) if in_exif else None),
        own=tuple(own),
        own_format="PNG",
    )


def write(bare: bytes, metadata: Metadata) -> bytes:
    """Return the file with the chunks that say it."""
    chunks = list[tuple[int | bytes, bytes]](metadata.of("PNG"))
    if metadata.icc:
        chunks = [chunk for chunk in chunks if chunk[0] != b"sRGB"]  # one of both only
        chunks.append((b"iCCP", b"icc\0\0" + zlib.compress(metadata.icc)))
    if metadata.resolution:
        sides = [_count(side * 1000) for side in (metadata.resolution.x, metadata.resolution.y)]
        chunks.append((b"pHYs", struct.pack(">IIB", *sides, metadata.resolution.absolute)))
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append((b"iTXt", _XMP + bytes(5) + metadata.xmp))
    rest = b"".join(_chunk(kind, body) for kind, body in _chunks(bare[:8] + bare[HEAD:]) if kind != b"pHYs")
    return bare[:HEAD] + b"".join(_chunk(kind, body) for kind, body in chunks) + rest


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


def _chunk(kind: int | bytes, body: bytes) -> bytes:
    assert isinstance(kind, bytes)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _count(value: float) -> int:
    return min(max(round(value), 1), 2**31 - 1)


def _text(rest: bytes) -> bytes:
    """Return the text of an iTXt chunk behind its keyword."""
    compressed, parts = rest[:1] == b"\1", rest[2:].split(b"\0", 2)
    text = parts[2] if len(parts) == 3 else b""
    return _inflated(text) if compressed else text


def _from_text(kind: bytes, rest: bytes, chunk: bytes) -> dict[str, bytes]:
    """Return what ImageMagick wrote as text: a name, a length and hex digits."""
    text = {b"zTXt": lambda: _inflated(rest[1:]), b"iTXt": lambda: _text(b"\0" + rest)}.get(
        chunk, lambda: rest
    )()
    digits = re.fullmatch(rb"\s*\S+\s+\d+\s+([0-9a-fA-F\s]*)", text)
    try:
        profile = bytes.fromhex(digits[1].decode()) if digits else b""
    except ValueError:
        return {}
    is_exif = profile.startswith(PREFIX)
    name = {b"exif": "exif", b"xmp": "xmp", b"APP1": "exif" if is_exif else "xmp"}.get(kind, "icc")
    profile = profile.removeprefix(PREFIX).removeprefix(b"http://ns.adobe.com/xap/1.0/\0")
    return {name: profile} if profile else {}


def _inflated(compressed: bytes) -> bytes:
    try:
        decompressor = zlib.decompressobj()
        text = decompressor.decompress(compressed, MOST)
    except zlib.error:
        return b""
    return text if decompressor.eof else b""
