"""Photoshop's image resources, which hold IPTC in JPEG and TIFF files. Standard: Adobe Photoshop File Formats."""

from collections.abc import Iterator

_THUMBNAILS = (1033, 1036)


def without_thumbnails(resources: bytes) -> bytes:
    """Return the resources but for those that show the photograph as it was."""
    return b"".join(resource for number, resource in _split(resources) if number not in _THUMBNAILS)


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (number, bytes) of each of Photoshop's resources; what cannot be followed is one without a number."""
    place = 0
    while place < len(data):
        name_end = place + 6 + (data[place + 6] // 2 * 2 + 2 if place + 6 < len(data) else 0)
        if data[place : place + 4] != b"8BIM" or name_end + 4 > len(data):
            yield -1, data[place:]
            return
        length = int.from_bytes(data[name_end : name_end + 4], "big")
        end = name_end + 4 + length + length % 2
        yield int.from_bytes(data[place + 4 : place + 6], "big"), data[place:end]
        place = end
