"""Photographs as people have them: read with what they carry, written whole or not at all."""

import io
import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mirl.config import UserError
from mirl.data.images import is_deep

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Suffix, in small letters -> Pillow's name."""
KNOWN = "PNG, JPEG and WebP"
QUALITY: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True},
}
"""Little of what was restored is lost again; `exact` keeps the colours below full transparency."""

_GREY = frozenset({"1", "L", "LA"})
_MODES = _GREY | {"P", "PA", "RGB", "RGBA"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Photograph:
    """Upright pixels, and what came with them."""

    rgb_HWC: np.ndarray
    """uint8; of a grey photograph three equal channels."""
    grey: bool = False
    alpha_HW: np.ndarray | None = None
    """uint8, None where nothing is see-through."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Arguments of Pillow's `save`: the ICC profile; EXIF without the orientation, which has been applied."""

    def with_pixels(self, rgb_HWC: np.ndarray) -> "Photograph":
        """The same photograph of other pixels; what came with them stays."""
        return replace(self, rgb_HWC=rgb_HWC)

    def image(self) -> Image.Image:
        """As Pillow has it: L, LA, RGB or RGBA. The grey level is the mean of the three channels."""
        # What went in three times came out as three estimates of one level.
        pixels = np.rint(self.rgb_HWC.mean(axis=2)).astype(np.uint8) if self.grey else self.rgb_HWC
        image = Image.fromarray(pixels)
        if self.alpha_HW is not None:
            image.putalpha(Image.fromarray(self.alpha_HW))
        return image


def read(path: Path) -> Photograph:
    """The photograph in `path`, as `decode` has it; UserError also where the file is missing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; name a photograph or a folder of them") from None
    return decode(data, str(path))


def decode(data: bytes, name: str) -> Photograph:
    """The photograph that `data` encodes, decoded to its last row and turned upright; errors speak of `name`.

    UserError where it is not a whole PNG, JPEG or WebP, of 16 bits, CMYK or moving.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large photographs are welcome
            with Image.open(io.BytesIO(data)) as image:
                _refuse(name, image)
                upright = ImageOps.exif_transpose(image)  # decodes: a truncated file raises here
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{name} is not an image that can be read; {KNOWN} can") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{name} has over {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels; cut it"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UserError(f"{name} is broken or cut off ({error}); get a whole copy of it") from None
    return _photograph(upright)


def write(photograph: Photograph, path: Path, force: bool = False) -> None:
    """Write `path` whole or not at all, in the format of its suffix; over an existing file only by `force`.

    UserError where the format is not known, cannot hold the photograph, or the file is there; OSError where
    the disk does not take it.
    """
    check_target(path, force)
    encoded = encode(photograph, FORMATS[path.suffix.lower()], str(path))
    draft = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        with draft.open("wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk does not say, and the draft means nothing to the user
        raise
    finally:
        draft.unlink(missing_ok=True)


def encode(photograph: Photograph, format: str, name: str) -> bytes:
    """A whole file in one of the FORMATS; errors speak of `name`. UserError where that cannot hold the photograph."""
    image, encoded = photograph.image(), io.BytesIO()
    if format == "JPEG" and photograph.alpha_HW is not None:
        raise UserError(f"{name}: JPEG cannot hold transparency; write a .png or .webp")
    try:
        image.save(encoded, format=format, **QUALITY[format], **photograph.extras)
    except (ValueError, OSError) as error:
        raise UserError(f"{name} cannot be written as {format} ({error}); write a .png") from None
    return encoded.getvalue()


def check_target(path: Path, force: bool = False) -> None:
    """UserError where nothing may be written to `path`: known before hours are spent on it."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path} has none of the endings {', '.join(FORMATS)}; they choose the format")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    if path.exists() and not force:
        raise UserError(f"{path} exists; --force writes over it")


def _refuse(name: str, image: Image.Image) -> None:
    if image.format not in {*FORMATS.values(), "MPO"}:  # MPO: what some telephones write as .jpg
        raise UserError(f"{name} is {image.format}; {KNOWN} can be restored, so convert it first")
    if is_deep(image):
        raise UserError(f"{name} has 16 bits a channel; only 8 can be restored, so save it with 8 bits first")
    if image.mode not in _MODES:
        raise UserError(f"{name} is {image.mode}; only grey and RGB can be restored, so save it as RGB first")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise UserError(f"{name} holds {frames} moving frames; only still pictures can be restored")


def _photograph(image: Image.Image) -> Photograph:
    see_through = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    alpha_HW = np.asarray(image.convert("RGBA").getchannel("A")) if see_through else None
    exif = image.getexif()
    exif.pop(ExifTags.Base.Orientation, None)
    extras = {"icc_profile": image.info.get("icc_profile"), "exif": exif.tobytes() if len(exif) else None}
    return Photograph(
        rgb_HWC=np.asarray(image.convert("RGBA" if see_through else "RGB"))[..., :3],
        grey=image.mode in _GREY,
        alpha_HW=alpha_HW,
        extras={key: value for key, value in extras.items() if value},
    )
