"""Wholeness of a JPEG file, which has no check sum: its entropy-coded data must hold as many blocks as its header claims.

A decoder fills in what is missing and stops where the picture is full, so damage in the middle of a file goes unnoticed:
from there on the blocks are wrong, and too many or too few, and their means drift beyond white and black. libjpeg counts
what is left over only if it reads a file to its end before it decodes, as it does if a picture may consist of several
scans; `_to_its_end` makes every file such a one. Damage by which everything still adds up is not found.
Standard: ITU-T T.81.
"""

import re
import struct
from collections.abc import Iterator

import numpy as np
import pyvips

from mirl.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp")
"""Endings of JPEG files, in lower case; browsers and mail programs write the rarer ones."""
START, END = b"\xff\xd8", b"\xff\xd9"
QUANTISERS, TABLES, SCAN, LAST = 0xDB, 0xC4, 0xDA, 0xD9
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2
COMMENTS = (*range(0xE0, 0xF0), 0xFE)
"""Markers of application data and comments, which do not matter to the pixels' number."""
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # restarts and stuffed bytes belong to a scan
_ADDED = {1: 3, 3: 1, 4: 1}
"""Components of a picture -> how many are added so that libjpeg waits for another scan."""
_ZEROS = bytes(32)
"""A run that, if it is no end of blocks, would be several blocks of one and the same coefficient throughout."""
_END_OF_BLOCK = (0x00, *range(0x10, 0xF0, 0x10))

Segment = tuple[int, int, int]
"""Marker, and where the segment begins and ends behind marker and length; that of a scan ends where its data does."""


def whole(data: bytes, name: str) -> bytes:
    """Return the JPEG file `data` up to its end marker, which is added if only that is missing.

    Wrong resolutions, padding and bytes behind the end are harmless. Raises UserError, which calls the picture `name`, if
    blocks are missing, left over or out of order.
    """
    data = _ended(data)
    stream = _to_its_end(data)
    tries = {one: _warning(one) for one in (_unpadded(stream), stream)}
    sound = next((one for one, warning in tries.items() if not warning), None)
    if sound is None:
        raise _damaged(name, tries[stream])
    if any(not _warning(short) for short in _shortened(sound)):
        raise _damaged(name, "a scan has more blocks than the header claims")
    if _has_impossible_means(sound):
        raise _damaged(name, "it has parts beyond white or black")
    if _has_impossible_zeros(sound):
        raise _damaged(name, "a part of it was overwritten with zeros")
    return data


def segments(data: bytes) -> Iterator[Segment]:
    """Yield each segment of a JPEG file up to its end; what cannot be followed ends them."""
    place = len(START)
    while found := _MARKER.search(data, place):
        marker, begin = found[1][0], found.end()
        if marker == LAST:
            yield marker, begin, begin
            return
        end = begin + int.from_bytes(data[begin : begin + 2], "big")
        if end < begin + 2 or end > len(data):
            return
        if marker == SCAN:
            after = _MARKER.search(data, end)
            end = after.start() if after else len(data)
        yield marker, begin + 2, end
        place = end


def _ended(data: bytes) -> bytes:
    end = next((start for marker, start, _ in segments(data) if marker == LAST), None)
    return data[:end] if end is not None else data.rstrip(b"\xff") + END


def _to_its_end(data: bytes) -> bytes:
    """Return the file without application data, and with components in its frame that no scan brings."""
    parts, place, sequential = [START], len(START), False
    for marker, start, end in segments(data):
        body = data[start:end]
        length = int.from_bytes(data[start - 2 : start], "big")
        sequential |= marker in SEQUENTIAL
        if marker in SEQUENTIAL:
            body = _with_more_components(body)
            length = len(body) + 2
        if marker == SCAN and sequential:
            body = _with_usual_parameters(body)
        if marker == LAST:
            break
        if marker not in COMMENTS:
            parts.append(struct.pack(">BBH", 0xFF, marker, length) + body)
        place = end
    return b"".join([*parts, data[place:]])


def _with_more_components(frame: bytes) -> bytes:
    count = frame[5] if len(frame) > 8 else 0
    free = [number for number in range(1, 256) if number not in frame[6::3]][: _ADDED.get(count, 0)]
    added = b"".join(bytes([number, 0x11, frame[8]]) for number in free)
    return frame[:5] + bytes([count + len(free)]) + frame[6:] + added


def _with_usual_parameters(scan: bytes) -> bytes:
    """Return a sequential scan whose spectral selection, which decoders ignore, is what the standard demands."""
    end = 1 + 2 * scan[0] if scan else 0
    return scan[:end] + b"\x00\x3f\x00" + scan[end + 3 :]


def _unpadded(stream: bytes) -> bytes:
    """Return the stream without zeros and fill bytes before its end."""
    coded = stream[: -len(END)].rstrip(b"\xff").rstrip(b"\0")
    return coded + (b"\0" if coded.endswith(b"\xff") else b"") + END


def _shortened(stream: bytes) -> Iterator[bytes]:
    """Yield the stream without the last byte of each sequential scan in turn, without which a block must be missing."""
    found = list(segments(stream))
    sequential = any(marker in SEQUENTIAL for marker, _, _ in found)
    for marker, _, end in found:
        if marker == SCAN and sequential:
            byte = 2 if stream[end - 2 : end] == b"\xff\0" else 1
            yield stream[: end - byte] + stream[end:]


def _has_impossible_zeros(stream: bytes) -> bool:
    """Return whether a scan has a long run of zeros although the code of zeros in its tables does not end a block."""
    first: dict[int, int] = {}
    progressive = False
    for marker, start, end in segments(stream):
        body = stream[start:end]
        progressive |= marker == PROGRESSIVE
        if marker == TABLES:
            first |= _first_symbols(body)
        if marker == SCAN and _ZEROS in body:
            count = body[0]
            used = {first.get(0x10 | selector & 15) for selector in body[2 : 2 + 2 * count : 2]}
            start_of_spectrum, approximation = body[1 + 2 * count], body[3 + 2 * count]
            codes_ac = not progressive or (start_of_spectrum > 0 and approximation >> 4 == 0)
            if codes_ac and any(symbol not in (None, *_END_OF_BLOCK) for symbol in used):
                return True
    return False


def _first_symbols(tables: bytes) -> dict[int, int]:
    """Return class and number of each Huffman table of a segment -> its symbol whose code is zeros alone."""
    found, place = {}, 0
    while place + 17 < len(tables):
        found[tables[place]] = tables[place + 17]
        place += 17 + sum(tables[place + 1 : place + 17])
    return found


def _has_impossible_means(stream: bytes) -> bool:
    """Return whether the mean of a block is by a third farther from grey than white and black are."""
    parts, place, ratio = [START], len(START), 0.0
    for marker, start, end in segments(stream):
        if marker == QUANTISERS:
            tables, of_tables = _means_alone(stream[start:end])
            ratio = max(ratio, of_tables)
            parts += [stream[place:start], tables]
            place = end
    far = np.abs(_decoded(b"".join([*parts, stream[place:]])) - 127.5).max()
    return bool(far > 1.3 * 127.5 * ratio + 2)


def _means_alone(tables: bytes) -> tuple[bytes, float]:
    """Return quantisers that leave of each block its mean alone, nearer to grey, and by which factor it is nearer."""
    changed, place, ratio = bytearray(len(tables)), 0, 0.0
    while place < len(tables):
        size = 2 if tables[place] >> 4 else 1
        step = int.from_bytes(tables[place + 1 : place + 1 + size], "big")
        smaller = max(step // 4, 1)
        ratio = max(ratio, smaller / max(step, 1))
        changed[place : place + 1 + size] = tables[place : place + 1] + smaller.to_bytes(size, "big")
        place += 1 + 64 * size
    return bytes(changed[: len(tables)]), ratio


def _warning(stream: bytes) -> str:
    """Return libjpeg's first complaint about the stream, or an empty string."""
    try:
        _decoded(stream)
    except pyvips.Error as error:
        return str(error.detail).strip().partition("\n")[0] or "no reason is given"
    return ""


def _decoded(stream: bytes) -> np.ndarray:
    """Return the means of blocks, or the pixels of a small picture. Raises pyvips.Error if libjpeg complains."""
    options = {"access": "sequential", "fail_on": "warning"}
    image = pyvips.Image.jpegload_buffer(stream, **options)
    if min(image.width, image.height) >= 8:
        image = pyvips.Image.jpegload_buffer(stream, **options, shrink=8)
    levels: np.ndarray = image.numpy()
    return levels


def _damaged(name: str, reason: str) -> UserError:
    return UserError(
        f"{name} is broken or cut off ({reason.removeprefix('VipsJpeg: ')}); get a whole copy of it"
    )
