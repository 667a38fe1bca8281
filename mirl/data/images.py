"""Reader of image files; files that are not whole 8-bit pictures are refused with an explanation."""

import io
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mirl.config import UserError
from mirl.files import open_file
from mirl.pictures import jpeg, tiff
from mirl.pictures.jpeg import SUFFIXES as JPEG_SUFFIXES

SUFFIXES = frozenset({".bmp", ".png", ".ppm", ".tif", ".tiff", ".webp"}) | {*JPEG_SUFFIXES}
"""Suffixes of files that count as images in a folder; other files are ignored."""

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's decoders that may read an image; Pillow has other decoders, some of which start programs."""

MOST_BYTES = 2**31
"""Largest file that is read: an uncompressed picture of as many pixels as Pillow decodes (178 million) takes a fourth."""

_MODES = frozenset({"1", "CMYK", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr"})


def read_image(path: Path) -> np.ndarray:
    """Read the picture in `path`, decoded to its last row: uint8 height x width x 3, RGB, upright by its EXIF tag.

    Raises UserError if the file is missing, damaged, cut off, not an image, too large, of more than 8 bits a channel or
    partly transparent, or if it holds several pictures, of which a preview may be the first.
    """
    try:
        with open_file(path) as file, _opened(file, path) as picture:
            _refuse_deep(path, picture)
            upright = ImageOps.exif_transpose(picture)  # decodes; a truncated file raises here
            return np.ascontiguousarray(_to_rgb(path, upright))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; expected an image file") from None
    except UnidentifiedImageError:
        raise UserError(f"{path} is not an image that can be read; replace or remove the file") from None
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} is too large ({error}); cut it into pieces") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is broken ({error}); replace or remove the file") from None


def _opened(file: BinaryIO, path: Path) -> Image.Image:
    """Open the picture without decoding it. Raises Pillow's error for more pixels than it decodes, 178 million."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # half as many are a photograph
        picture = Image.open(file, formats=FORMATS)
        if picture.format == "TIFF":
            tiff.refuse_others(_bytes_of(file, path), str(path))
        elif picture.format in ("JPEG", "MPO"):
            picture = Image.open(io.BytesIO(jpeg.whole(_bytes_of(file, path), str(path))), formats=FORMATS)
        elif (frames := getattr(picture, "n_frames", 1)) > 1:
            raise UserError(f"{path} holds {frames} moving frames; save one of them")
        return picture


def _bytes_of(file: BinaryIO, path: Path) -> bytes:
    file.seek(0)
    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise UserError(f"{path} has more than {MOST_BYTES >> 20} MiB; cut it into pieces")
    file.seek(0)
    return data


def image_files(folder: Path) -> list[Path]:
    """List the image files that lie directly in `folder`, by name.

    Raises UserError if `folder` is not a folder or has no image files.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; expected the place of the images")
    try:
        listed = list(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({(error.strerror or 'no reason is given').lower()}); allow it, or name another"
        ) from None
    files = sorted(path for path in listed if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not files:
        raise UserError(
            f"{folder} has no image files; expected at least one of {', '.join(sorted(SUFFIXES))}"
        )
    return files


def is_deep(picture: Image.Image) -> bool:
    """Return whether an opened, not yet decoded picture has more than 8 bits a channel.

    Pillow shortens 16-bit colour to 8 bits without a word: the mode says RGB, only the raw mode tells.
    """
    raw = " ".join(str(tile[3]) for tile in getattr(picture, "tile", []))
    return picture.mode[0] in "IF" or ";16" in raw


def _refuse_deep(path: Path, picture: Image.Image) -> None:
    if picture.mode not in _MODES or is_deep(picture):
        raise UserError(
            f"{path} has more than 8 bits a channel or an unusual colour mode ({picture.mode}); "
            "expected 8-bit RGB: save it as that"
        )


def _to_rgb(path: Path, picture: Image.Image) -> np.ndarray:
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        with_alpha = np.asarray(picture.convert("RGBA"))
        if with_alpha[..., 3].min() < 255:
            raise UserError(f"{path} is partly transparent; save it without the alpha channel")
        return with_alpha[..., :3]
    return np.asarray(picture.convert("RGB"))
