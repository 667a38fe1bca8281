"""Picture files as cameras, scanners and accidents make them, small."""

import io
from typing import Any

import numpy as np
import tifffile
from PIL import Image

ORDINARY: tuple[dict[str, Any], ...] = (
    {},
    {"quality": 95, "subsampling": 0},
    {"optimize": True},
    {"restart_marker_rows": 1},
    {"progressive": True},
)
"""Ways in which encoders write JPEG."""


def scene(height: int = 64, width: int = 96, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Something everywhere: uint8 of height x width x channels, without the last axis if there is one channel."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(30, 220, height * width * channels).reshape(height, width, channels)
    levels = (ramp + rng.normal(0, 12, ramp.shape)).clip(0, 255).astype(np.uint8)
    return levels if channels > 1 else levels[..., 0]


def saved(image: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    """A file that Pillow wrote."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, format, **options)
    return file.getvalue()


def tiff(*pages: tuple[np.ndarray, dict[str, Any]]) -> bytes:
    """A TIFF that tifffile wrote: an array and options for each page."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page, options in pages:
            writer.write(page, metadata=None, **{"photometric": "rgb", **options})
    return file.getvalue()


FILTER_ARRAY: dict[str, Any] = {
    "photometric": 32803,
    "extratags": [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes([0, 1, 1, 2]), True)],
}
SMALL, LARGE = scene(16, 24), scene()
PREVIEWS = {
    "a camera's raw file": tiff(
        (SMALL, {"subfiletype": 1, "subifds": 1}), (scene(channels=1).astype(np.uint16), FILTER_ARRAY)
    ),
    "a raw file alone": tiff((scene(channels=1), FILTER_ARRAY)),
    "a preview before its picture": tiff((SMALL, {"subfiletype": 1, "subifds": 1}), (LARGE, {})),
    "a preview that is called none": tiff((SMALL, {"subifds": 1}), (LARGE, {})),
    "a preview on a page of its own": tiff((SMALL, {"subfiletype": 1}), (LARGE, {})),
    "a preview alone": tiff((SMALL, {"subfiletype": 1})),
    "two pages": tiff((LARGE, {}), (LARGE, {})),
    "a smaller page that is no copy": tiff((LARGE, {}), (SMALL, {})),
    "a mask": tiff((LARGE, {}), (LARGE[..., 0] > 99, {"photometric": "mask", "subfiletype": 4})),
}
"""Files whose first picture is not what they are about, or not all of it."""
WITH_COPIES = {
    "copies as SubIFDs": tiff((LARGE, {"subifds": 2}), (LARGE[::2, ::2], {"subfiletype": 1}), (SMALL, {})),
    "a copy on a page": tiff((LARGE, {}), (LARGE[::2, ::2], {"subfiletype": 1})),
}
"""Files whose first picture is followed by smaller copies of itself."""


def zeros(data: bytes, start: int, length: int) -> bytes:
    """A sector that a disk has lost."""
    return data[:start] + bytes(length) + data[start + length :]


def dropped(data: bytes, start: int, length: int) -> bytes:
    """A piece that a copy has lost."""
    return data[:start] + data[start + length :]


def noise(data: bytes, start: int, length: int) -> bytes:
    """A piece of another file."""
    return data[:start] + np.random.default_rng(start).bytes(length) + data[start + length :]


def again(data: bytes, start: int, length: int) -> bytes:
    """A piece that a copy has twice."""
    return data[: start + length] + data[start:]


DAMAGE = (zeros, dropped, noise, again)
