"""Metadata of TIFF files. Standards: TIFF 6.0, XMP part 3, ICC.1 annex B."""

import struct
from collections.abc import Iterator
from fractions import Fraction

from mirl.pictures.directories import BYTES, Directories, Directory
from mirl.restore.metadata.exif import orientation, resolution_mm
from mirl.restore.metadata.metadata import Metadata, Resolution
from mirl.restore.metadata.photoshop import without_thumbnails

TEXT = (269, 270, 271, 272, 306, 315, 33432)
"""Name, description, make and model of the camera, date, artist and copyright."""
_X, _Y, _UNIT = 282, 283, 296
_XMP, _IPTC, _PHOTOSHOP, _ICC = 700, 33723, 34377, 34675
_NO_UNIT, _INCH, _CENTIMETRE = 1, 2, 3
_BYTE, _ASCII, _SHORT, _RATIONAL, _UNDEFINED = 1, 2, 3, 5, 7

Entry = tuple[int, int, bytes]
"""Type, number of values, and the values."""


def read(data: bytes) -> Metadata:
    """Return what the first directory says, but for EXIF."""
    try:
        directories = Directories(data)
        directory = directories.read(directories.first)
    except ValueError:
        return Metadata()
    held = {
        tag: directories.bytes_of(field) for tag, field in directory.fields.items() if field.form in BYTES
    }
    if _PHOTOSHOP in held:
        held[_PHOTOSHOP] = without_thumbnails(held[_PHOTOSHOP])
    return Metadata(
        icc=held.get(_ICC, b""),
        xmp=held.get(_XMP, b""),
        orientation=orientation(data, held.get(_XMP, b"")),
        resolution=_resolution(data, directory),
        own=tuple((tag, held[tag]) for tag in (*TEXT, _IPTC, _PHOTOSHOP) if tag in held),
        own_format="TIFF",
    )


def write(bare: bytes, metadata: Metadata) -> bytes:
    """Return the file with a directory that says it, in place of its own."""
    directories = Directories(bare)
    if directories.big or directories.order != "<":
        return bare  # more than 4 GB, which no budget holds
    found = directories.read(directories.first)
    count = struct.unpack_from("<H", bare, directories.first)[0]
    own = bare[directories.first + 2 : directories.first + 2 + 12 * count]
    entries = {
        struct.unpack_from("<H", own, 12 * number)[0]: own[12 * number : 12 * number + 12]
        for number in range(count)
    }
    assert found.following == 0, "one picture is written"
    place = len(bare) + len(bare) % 2
    parts = [bare, bytes(len(bare) % 2)]
    for tag, (kind, number, values) in _entries(metadata):
        inline = values.ljust(4, b"\0") if len(values) <= 4 else struct.pack("<I", place)
        entries[tag] = struct.pack("<HHI", tag, kind, number) + inline
        if len(values) > 4:
            values += bytes(len(values) % 2)
            parts.append(values)
            place += len(values)
    directory = struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    return b"".join([bare[:4], struct.pack("<I", place), *[b"".join(parts)[8:]], directory])


def _entries(metadata: Metadata) -> Iterator[tuple[int, Entry]]:
    resolution = metadata.resolution or Resolution(1, 1, absolute=False)
    sides, unit = (resolution.x, resolution.y), _NO_UNIT
    if resolution.absolute:
        inch = all(abs(side * 25.4 - round(side * 25.4)) < 0.01 for side in sides)
        sides, unit = _per(sides, 25.4 if inch else 10.0), _INCH if inch else _CENTIMETRE
    for tag, side in zip((_X, _Y), sides, strict=True):
        nearest = round(side) if side and abs(side - round(side)) < 0.01 else side
        fraction = Fraction(nearest).limit_denominator(1000)
        yield (
            tag,
            (_RATIONAL, 1, struct.pack("<II", min(fraction.numerator, 2**32 - 1), fraction.denominator)),
        )
    yield _UNIT, (_SHORT, 1, struct.pack("<H", unit))
    blobs = ((_XMP, _BYTE, metadata.xmp), (_ICC, _UNDEFINED, metadata.icc))
    yield from ((tag, (kind, len(blob), blob)) for tag, kind, blob in blobs if blob)
    for own, blob in metadata.of("TIFF"):
        assert isinstance(own, int)
        yield own, (_ASCII if own in TEXT else _UNDEFINED if own == _IPTC else _BYTE, len(blob), blob)


def _per(sides: tuple[float, float], mm: float) -> tuple[float, float]:
    return sides[0] * mm, sides[1] * mm


def _resolution(data: bytes, directory: Directory) -> Resolution | None:
    if per_mm := resolution_mm(data):
        return Resolution(*per_mm)
    (x, x_of), (y, y_of) = ((*directory.all(tag), 0, 0)[:2] for tag in (_X, _Y))
    if directory.first(_UNIT) == _NO_UNIT and x and x_of and y and y_of and x * y_of != y * x_of:
        return Resolution(x / x_of, y / y_of, absolute=False)
    return None
