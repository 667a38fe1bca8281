"""What stands in a photograph's file beside its pixels, and stays true when the pixels have changed."""

from collections.abc import Callable

from mirl.restore.metadata import jpeg, png, tiff, webp
from mirl.restore.metadata.metadata import Metadata, Resolution

__all__ = ["READERS", "WRITERS", "Metadata", "Resolution"]

READERS: dict[str, Callable[[bytes], Metadata]] = {
    "PNG": png.read,
    "JPEG": jpeg.read,
    "WEBP": webp.read,
    "TIFF": tiff.read,
}
"""Format -> reader of what stands in a whole file."""
WRITERS: dict[str, Callable[[bytes, Metadata], bytes]] = {
    "PNG": png.write,
    "JPEG": jpeg.write,
    "WEBP": webp.write,
    "TIFF": tiff.write,
}
"""Format -> writer, which returns a bare file with what the format can hold. Raises UserError if that does not fit."""
