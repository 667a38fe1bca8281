"""Decoding and encoding of image files by libvips: the known formats and what each can hold.

Dims: H height, W width, C channels.
"""

from typing import Any

import numpy as np
import pyvips

from mirl.config import UserError
from mirl.pictures import jpeg, tiff
from mirl.restore.metadata import READERS, WRITERS, Metadata
from mirl.restore.photograph import MEMORY, Photograph, bytes_held

FORMATS = {
    ".png": "PNG",
    **dict.fromkeys(jpeg.SUFFIXES, "JPEG"),
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""Suffix, in lower case -> name of the format."""
KNOWN = "PNG, JPEG, WebP and TIFF"
DEEP = frozenset({"PNG", "TIFF"})
"""Formats that hold 16 bits; the others get 8."""
OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"bitdepth": 8, "filter": pyvips.enums.ForeignPngFilter.ALL, "palette": False},
    "JPEG": {"Q": 95, "subsample_mode": "off", "optimize_coding": True},
    "WEBP": {"lossless": True, "exact": True},
    "TIFF": {"compression": "deflate", "predictor": "horizontal"},
}
"""Options for saving that lose little of the restored image; `exact` keeps the colours of transparent pixels."""

_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"RIFF": "WEBP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_GREY, _COLOUR = frozenset({"b-w", "grey16"}), frozenset({"srgb", "rgb16"})

pyvips.cache_set_max(0)  # it would keep whole pictures for a second use that never comes


def decode(data: bytes, name: str, memory: int = MEMORY, scale: int = 1) -> Photograph:
    """Decode the photograph in `data` to its last row and turn it upright; messages call the photograph `name`.

    `scale` is the side of the restored photograph over its own. Raises UserError if `data` is not a whole PNG, JPEG, WebP
    or TIFF, is too large for `memory` bytes with what is restored (known before it is decoded), has levels other than 8 or
    16 bits or colours other than grey or RGB, or holds several pictures, of which a preview may be the first.
    """
    format = format_of(data, name)
    try:
        image = _opened(data, format)
        if format == "TIFF":
            tiff.refuse_others(data, name)
        _refuse(name, image)
        _refuse_large(name, image, memory, scale)
        if format == "JPEG":
            data = jpeg.whole(data, name)
            image = _opened(data, format)
        _refuse_film(name, image, format, data)
        metadata = READERS[format](data)
        image = _upright(image, metadata.orientation)
        samples_HWC = image.numpy().reshape(image.height, image.width, image.bands)
    except pyvips.Error as error:
        raise _broken(name, error) from None
    return _photograph(image, samples_HWC, format, metadata.upright())


def size_of(data: bytes, name: str) -> tuple[int, int]:
    """Return (height, width) of a picture from its header, without decoding. Raises UserError if it cannot be read."""
    try:
        image = _opened(data, format_of(data, name))
    except pyvips.Error as error:
        raise _broken(name, error) from None
    return image.height, image.width


def format_of(data: bytes, name: str) -> str:
    """Return the format of a picture from its first bytes. Raises UserError if it is none of FORMATS."""
    if not data:
        raise UserError(f"{name} is empty; get a whole copy of it")
    found = next((format for start, format in _BEGINNINGS.items() if data.startswith(start)), None)
    if found is None or (found == "WEBP" and data[8:12] != b"WEBP"):
        raise UserError(f"{name} is not an image that can be read; {KNOWN} can")
    return found


def encode(photograph: Photograph, format: str, name: str) -> bytes:
    """Encode a photograph as a whole file in one of FORMATS; messages call the photograph `name`.

    Raises UserError if the format cannot hold the photograph.
    """
    if format == "JPEG" and photograph.alpha_HW is not None:
        raise UserError(f"{name}: JPEG cannot hold transparency; write a .png, .webp or .tif")
    icc = photograph.metadata.icc
    if format == "WEBP" and photograph.grey and icc and icc[16:20] != b"RGB ":
        raise UserError(
            f"{name}: WebP cannot hold the profile of a grey photograph; write a .png, .jpg or .tif"
        )
    samples_HWC, options = photograph.samples_HWC(), dict(OPTIONS[format])
    if samples_HWC.dtype == np.uint16:
        options |= {"bitdepth": 16} if format == "PNG" else {}
        samples_HWC = samples_HWC if format in DEEP else _to_8_bits(samples_HWC)
    image = _image(samples_HWC)
    try:
        encoded: bytes = getattr(image, f"{format.lower()}save_buffer")(**options, keep="none")
    except pyvips.Error as error:
        raise UserError(
            f"{name} cannot be written as {format} ({_last_line(error)}); write a .png or .tif"
        ) from None
    try:
        return WRITERS[format](encoded, photograph.metadata)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _opened(data: bytes, format: str) -> pyvips.Image:
    load = getattr(pyvips.Image, f"{format.lower()}load_buffer")
    return load(data, access="sequential", fail_on="error")


def _broken(name: str, error: pyvips.Error) -> UserError:
    reason = _last_line(error) or "no reason is given"
    return UserError(
        f"{name} is broken or cut off, or of a rare kind ({reason}); get a whole copy of it, or save it anew"
    )


def _refuse_large(name: str, image: pyvips.Image, memory: int, scale: int) -> None:
    held = bytes_held(image.height, image.width, 1 if image.format == "uchar" else 2, scale)
    if held > memory:
        what = "which" if scale == 1 else f"which enlarged {scale} times as wide and high"
        raise UserError(
            f"{name} has {image.width} x {image.height} = {image.width * image.height / 1e6:.1f} megapixels, {what} take "
            f"{held / 2**30:.2f} GiB; allow more than {memory / 2**30:.2f} GiB with --memory, or cut it"
        )


def _refuse(name: str, image: pyvips.Image) -> None:
    if image.format not in ("uchar", "ushort"):
        kind = "floating point" if image.format in ("float", "double") else image.format
        raise UserError(
            f"{name} has {kind} levels; only 8 and 16 bits can be restored, so save it with 16 bits"
        )
    grey, colour = image.interpretation in _GREY, image.interpretation in _COLOUR
    if not (grey and image.bands <= 2) and not (colour and 3 <= image.bands <= 4):
        what = f"{image.interpretation.upper()} of {image.bands} channels"
        raise UserError(f"{name} is {what}; only grey and RGB can be restored, so save it as RGB first")


def _refuse_film(name: str, image: pyvips.Image, format: str, data: bytes) -> None:
    frames = _field(image, "n-pages", 1)
    if format == "PNG" and b"acTL" in data[: data.find(b"IDAT")]:
        raise UserError(
            f"{name} holds moving frames; only still pictures can be restored, so save one of them"
        )
    if frames > 1 and format != "TIFF":
        raise UserError(
            f"{name} holds {frames} moving frames; only single pictures can be restored, so save one of them"
        )


def _upright(image: pyvips.Image, orientation: int) -> pyvips.Image:
    if orientation == 1:
        return image
    image = image.copy_memory()  # what is read row by row cannot be turned
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return image.autorot()


def _photograph(image: pyvips.Image, samples_HWC: np.ndarray, format: str, metadata: Metadata) -> Photograph:
    grey = image.interpretation in _GREY
    alpha_HW = samples_HWC[..., -1] if image.hasalpha() else None
    rgb_HWC = samples_HWC[..., :1].repeat(3, axis=2) if grey else samples_HWC[..., :3]
    return Photograph(
        rgb_HWC=np.ascontiguousarray(rgb_HWC),
        grey=grey,
        alpha_HW=None if alpha_HW is None else np.ascontiguousarray(alpha_HW),
        metadata=metadata,
        format=format,
    )


def _image(samples_HWC: np.ndarray) -> pyvips.Image:
    height, width, channels = samples_HWC.shape
    kind = "uchar" if samples_HWC.dtype == np.uint8 else "ushort"
    colours = {"uchar": ("b-w", "srgb"), "ushort": ("grey16", "rgb16")}[kind][channels > 2]
    image = pyvips.Image.new_from_memory(samples_HWC.data, width, height, channels, kind)
    return image.copy(interpretation=colours)


def _to_8_bits(samples: np.ndarray) -> np.ndarray:
    """Round uint16 levels to the nearest of 256, where 65535 becomes 255; row by row, to save memory."""
    levels = np.empty(samples.shape, np.uint8)
    for row, level in zip(samples, levels, strict=True):
        level[:] = (row.astype(np.uint32) + 128) // 257
    return levels


def _field(image: pyvips.Image, key: str, otherwise: int) -> int:
    return int(image.get(key)) if image.get_typeof(key) else otherwise


def _last_line(error: pyvips.Error) -> str:
    return str(error.detail).strip().rpartition("\n")[2]
