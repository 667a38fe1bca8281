"""Photographs as people have them: read with what they carry, written whole or not at all."""

from pathlib import Path

from mirl.config import UserError
from mirl.files import write_whole
from mirl.restore.codec import FORMATS, KNOWN, decode, encode
from mirl.restore.photograph import MEMORY, Photograph

__all__ = ["FORMATS", "KNOWN", "Photograph", "check_target", "decode", "encode", "read", "write"]


def read(path: Path, memory: int = MEMORY) -> Photograph:
    """The photograph in `path`, as `decode` has it; UserError also where the file is missing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; name a photograph or a folder of them") from None
    return decode(data, str(path), memory)


def write(photograph: Photograph, path: Path, force: bool = False) -> None:
    """Write `path` whole or not at all, in the format of its suffix; over an existing file only by `force`.

    UserError where the format is not known, cannot hold the photograph, or the file is there; OSError where
    the disk does not take it.
    """
    check_target(path, force)
    encoded = encode(photograph, FORMATS[path.suffix.lower()], str(path))
    write_whole(path, encoded, lambda: check_target(path, force))  # it may have come meanwhile


def check_target(path: Path, force: bool = False) -> None:
    """UserError where nothing may be written to `path`: known before hours are spent on it."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path} has none of the endings {', '.join(FORMATS)}; they choose the format")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    if (path.exists() or path.is_symlink()) and not force:
        raise UserError(f"{path} exists; --force writes over it")
