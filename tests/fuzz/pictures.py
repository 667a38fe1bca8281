"""Whole pictures to spoil, of every format and mode that people have."""

import io
from typing import Any

import numpy as np
from PIL import Image


def whole_pictures() -> list[bytes]:
    """Small ones, of noise."""
    rng = np.random.default_rng(0)
    rgb_HWC = rng.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    image = Image.fromarray(rgb_HWC)
    exif = Image.Exif()
    exif[0x0112] = 6
    made = [
        _saved(image, "PNG"), _saved(image, "JPEG", exif=exif), _saved(image, "WEBP", lossless=True),
        _saved(image, "JPEG", progressive=True), _saved(image.convert("L"), "PNG"), _saved(image.convert("P"), "PNG"),
        _saved(image.convert("RGBA"), "PNG"),
        _saved(Image.fromarray(rng.integers(0, 2**16, (9, 7), dtype=np.uint16)), "PNG"),
    ]  # fmt: skip
    made += [
        _saved(image, "TIFF", compression=compression) for compression in ("raw", "tiff_lzw", "tiff_deflate")
    ]
    return made


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
