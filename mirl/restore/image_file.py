"""Files of photographs: read with their profile and metadata, written whole or not at all."""

import os
from pathlib import Path
from typing import BinaryIO

from mirl.config import UserError
from mirl.files import open_file, refuse_special, write_whole
from mirl.restore.codec import FORMATS, KNOWN, decode, encode, format_of
from mirl.restore.photograph import MEMORY, Photograph

__all__ = [
    "FORMATS",
    "KNOWN",
    "Photograph",
    "check_target",
    "decode",
    "encode",
    "read",
    "read_stream",
    "write",
]

MIB = 2**20
THROUGH_PIPE = "a picture that a pipe gives is named -, as in `mirl restore - -o restored.png`"


def read(path: Path, memory: int = MEMORY, scale: int = 1) -> Photograph:
    """Read and decode the photograph in `path`, to be restored `scale` times as large.

    Raises UserError as `decode` does, and if the file is missing, special or larger than `memory` bytes.
    """
    try:
        with open_file(path, THROUGH_PIPE) as file:
            if os.fstat(file.fileno()).st_size > memory:
                raise _too_long(str(path), memory)
            return read_stream(file, str(path), memory, scale)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; name a photograph or a folder of them") from None


def read_stream(stream: BinaryIO, name: str, memory: int = MEMORY, scale: int = 1) -> Photograph:
    """Read and decode a photograph from `stream`, to be restored `scale` times as large; messages call it `name`.

    Reading stops at once if the first bytes are not those of a picture. Raises UserError as `decode` does, and if the
    stream has more than `memory` bytes.
    """
    parts, size = list[bytes](), 0
    while part := stream.read(MIB):
        if not parts:
            format_of(part, name)
        parts.append(part)
        size += len(part)
        if size > memory:
            raise _too_long(name, memory)
    return decode(b"".join(parts), name, memory, scale)


def write(photograph: Photograph, path: Path, force: bool = False) -> None:
    """Write a photograph to `path` whole or not at all, in the format of the suffix; `force` replaces an existing file.

    Raises UserError if the format is not known, the format cannot hold the photograph, or the file exists, and OSError
    if the disk cannot take the file.
    """
    check_target(path, force)
    encoded = encode(photograph, FORMATS[path.suffix.lower()], str(path))
    write_whole(path, encoded, lambda: check_target(path, force))  # it may have come meanwhile


def check_target(path: Path, force: bool = False) -> None:
    """Raise UserError if `path` may not be written; called before hours are spent on the result."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path} has none of the endings {', '.join(FORMATS)}; they choose the format")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    refuse_special(path, "name a file to write, or - for standard output")
    if (path.exists() or path.is_symlink()) and not force:
        raise UserError(f"{path} exists; --force writes over it")


def _too_long(name: str, memory: int) -> UserError:
    return UserError(
        f"{name} has more than {memory / MIB:.1f} MiB; allow more with --memory, or save it smaller"
    )
