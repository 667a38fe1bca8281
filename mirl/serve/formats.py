"""Formats of received and returned pictures, by their media types."""

import re

from mirl.restore.image_file import FORMATS
from mirl.serve.refusal import Refusal

MEDIA_TYPES = {format: f"image/{format.lower()}" for format in dict.fromkeys(FORMATS.values())}
"""Name of the format -> media type, like image/png."""
KNOWN = ", ".join(MEDIA_TYPES.values())
_Q = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
ANY_BYTES = ("", "application/octet-stream")
"""Content types that say nothing about the body."""


def refuse_other(content_type: str) -> None:
    """Raise Refusal if the content type is not that of a picture; the bytes of the body are checked later."""
    said = content_type.partition(";")[0].strip().lower()
    if said not in ANY_BYTES and not said.startswith("image/"):
        raise Refusal(
            "wrong_type",
            f"the body is said to be {said[:100]}, expected the bytes of a picture, with one of the content types {KNOWN}",
        )


def chosen(own: str, accept: str) -> str:
    """Choose the format of the answer: `own`, unless the Accept header excludes it.

    Raises Refusal if the header excludes every format.
    """
    ranges = _ranges(accept) or {"*/*": 1.0}
    preference = {format: _preference(media_type, ranges) for format, media_type in MEDIA_TYPES.items()}
    best = own if preference[own] > 0 else max(preference, key=lambda format: preference[format])
    if preference[best] <= 0:
        raise Refusal("no_such_format", f"the answer can be {KNOWN}, but Accept asks for {accept[:100]}")
    return best


def _ranges(accept: str) -> dict[str, float]:
    """Parse an Accept header into media range -> q; a malformed q counts as 0, not wanted."""
    ranges = {}
    for part in filter(None, (part.strip() for part in accept.split(","))):
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        q = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        ranges[media_range] = float(q) if _Q.fullmatch(q) else 0.0
    return ranges


def _preference(media_type: str, ranges: dict[str, float]) -> float:
    for media_range in (media_type, "image/*", "*/*"):  # the most exact counts
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
