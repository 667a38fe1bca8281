"""Reading of regular files only, and atomic writing: a file is written whole or not at all."""

import io
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mirl.errors import UserError

SPECIAL: dict[str, Callable[[int], bool]] = {
    "a pipe": stat.S_ISFIFO,
    "a device": stat.S_ISCHR,
    "a disk": stat.S_ISBLK,
    "a socket": stat.S_ISSOCK,
}
"""Kinds of special files, by name: reading from one need not end, and may never begin."""
TEXT_BYTES = 16 * 2**20
"""Largest text file that is read, in bytes: parameters and records are a thousand times shorter."""


def refuse_special(path: Path, mending: str) -> None:
    """Raise UserError if `path` is a pipe, a device or a socket, or a link to one, without opening `path`."""
    with suppress(OSError):  # what cannot be looked at says so when it is opened
        _refuse_mode(path, path.stat().st_mode, mending)


def open_file(path: Path, mending: str = "name a file") -> io.BufferedReader:
    """Open the file at `path` for reading.

    Raises UserError at once if the file is special, and OSError if it is missing or a folder.
    """
    refuse_special(path, mending)
    # Without blocking: a pipe may have taken its place meanwhile.
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - Path's takes no opener
    try:
        _refuse_mode(path, os.fstat(file.fileno()).st_mode, mending)
    except UserError:
        file.close()
        raise
    return file


def read_text(path: Path) -> str:
    """Return the text of a file of at most TEXT_BYTES bytes.

    Raises UserError if the file is special, larger or not UTF-8, and OSError if it is missing.
    """
    with open_file(path) as file:
        data = file.read(TEXT_BYTES + 1)
    if len(data) > TEXT_BYTES:
        raise UserError(
            f"{path} has more than {TEXT_BYTES >> 20} MiB, expected text of a few KB; name another file"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        lines = data[: error.start].split(b"\n")
        place = f"line {len(lines)}, column {len(lines[-1].decode()) + 1}"
        raise UserError(f"{path} is no text in UTF-8, from {place} on; save it as that") from None


def write_whole(
    path: Path, data: bytes, last_look: Callable[[], object] = lambda: None, mode: int = 0o666
) -> None:
    """Write `data` to the file at `path` atomically: all of the data or nothing, even if the power fails.

    `last_look` is called before the file takes its name; if it raises, everything stays as it was. `mode`, less the
    umask, is the permission of the file from its first byte on. Raises OSError, which names `path`, if the disk cannot
    take the data, and UserError if `path` is special, as a regular file would replace it.
    """
    refuse_special(path, "name a file to write")
    draft = path.with_name(f".{secrets.token_hex(8)}.writing")  # shorter than any name that is already long
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        last_look()
        draft.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk does not say, and the draft means nothing to the user
        raise
    finally:
        with suppress(OSError):  # what went wrong before says more
            draft.unlink()


def _refuse_mode(path: Path, mode: int, mending: str) -> None:
    kind = next((kind for kind, is_it in SPECIAL.items() if is_it(mode)), None)
    if kind:
        raise UserError(f"{path} is {kind}, not a file; {mending}")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
