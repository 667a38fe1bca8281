"""EXIF and XMP of a photograph that was turned upright: both say so, nothing else in them changes.

Values are changed where they stand, so that what cameras write beside them, with places counted from the beginning,
stays readable. Standards: EXIF 2.32, the XMP specification part 1.
"""

import re
import struct

from mirl.pictures.directories import Directories, Directory, Field

PREFIX = b"Exif\0\0"
"""What stands before EXIF in a JPEG file, and in some WebP files."""
UPRIGHT, TURNED = 1, range(5, 9)
"""Orientations: as the pixels lie, and those under which height and width change places."""

_ORIENTATION, _EXIF, _UNIT, _X, _Y = 274, 34665, 296, 282, 283
_SIDES = ((256, 257), (_X, _Y), (40962, 40963))
_THUMBNAIL, _THUMBNAIL_BYTES = 513, 514
_MM = {2: 25.4, 3: 10.0}
"""ResolutionUnit -> millimetres."""
_XMP_ORIENTATION = re.compile(rb"""(\btiff:Orientation(?:\s*=\s*["']|>)\s*)([1-8])(?=\s*["'<])""")
_XMP_THUMBNAILS = re.compile(rb"<xmp:Thumbnails\b.*?</xmp:Thumbnails>", re.DOTALL)


def orientation(exif: bytes, xmp: bytes) -> int:
    """Return the orientation, 1 to 8, that EXIF states; if it states none, that of XMP; 1 if neither does."""
    found = _read(exif)
    stated = found[1].first(_ORIENTATION) if found else 0
    if not stated and (in_xmp := _XMP_ORIENTATION.search(xmp)):
        stated = int(in_xmp[2])
    return stated if stated in range(1, 9) else UPRIGHT


def resolution_mm(exif: bytes) -> tuple[float, float] | None:
    """Return the pixels per mm (across, down) that EXIF, or a TIFF file, states; None if it states none."""
    found = _read(exif)
    return found and resolution_of(found[1])


def resolution_of(directory: Directory) -> tuple[float, float] | None:
    """Return the pixels per mm that a directory states."""
    mm = _MM.get(directory.first(_UNIT, 2))
    pairs = [(*directory.all(tag), 0, 0)[:2] for tag in (_X, _Y)]
    if mm is None or any(0 in pair for pair in pairs):
        return None
    (x, x_of), (y, y_of) = pairs
    return x / x_of / mm, y / y_of / mm


def upright_exif(exif: bytes, was: int) -> bytes:
    """Return EXIF of a photograph that was turned from the orientation `was`, and has no thumbnail any more."""
    found = _read(exif)
    if not found:
        return exif
    directories, main = found
    changed = bytearray(exif)
    if field := main.fields.get(_ORIENTATION):
        struct.pack_into(directories.order + field.form[:1], changed, field.values_place, UPRIGHT)
    inner = _directory(directories, main.first(_EXIF))
    for one, other in _SIDES if was in TURNED else ():
        for directory in filter(None, (main, inner)):
            if one in directory.fields and other in directory.fields:
                _exchange(changed, directory.fields[one], directory.fields[other])
    if thumbnail := _directory(directories, main.following):
        start, length = thumbnail.first(_THUMBNAIL), thumbnail.first(_THUMBNAIL_BYTES)
        if 8 <= start <= start + length <= len(changed):
            changed[start : start + length] = bytes(length)
    changed[main.following_place : main.following_place + 4] = bytes(4)
    return bytes(changed)


def upright_xmp(xmp: bytes) -> bytes:
    """Return XMP of a photograph that was turned upright, and has no thumbnails any more."""
    return _XMP_THUMBNAILS.sub(b"", _XMP_ORIENTATION.sub(rb"\g<1>1", xmp))


def _read(exif: bytes) -> tuple[Directories, Directory] | None:
    try:
        directories = Directories(exif)
        return directories, directories.read(directories.first)
    except ValueError:  # none, or not readable to anybody
        return None


def _directory(directories: Directories, place: int) -> Directory | None:
    try:
        return directories.read(place) if place else None
    except ValueError:
        return None


def _exchange(data: bytearray, one: Field, other: Field) -> None:
    """Exchange the type, number and values of two entries, of 10 bytes behind the tag."""
    first, second = (slice(field.place, field.place + 10) for field in (one, other))
    data[first], data[second] = data[second], data[first]
