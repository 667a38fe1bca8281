"""Files: opened only if they are files, and written whole or not at all."""

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
"""Kinds of what is neither a file nor a folder: what is read from them need not end, and may never begin."""
TEXT_BYTES = 16 * 2**20
"""The longest text that is read: parameters and records are a thousand times shorter."""


def refuse_special(path: Path, mending: str) -> None:
    """UserError if there is a pipe, a device or a socket at `path`, or a link to one; it is not opened."""
    with suppress(OSError):  # what cannot be looked at says so when it is opened
        _refuse_mode(path, path.stat().st_mode, mending)


def open_file(path: Path, mending: str = "name a file") -> io.BufferedReader:
    """The file at `path`, open for reading. UserError at once if it is special; OSError if it is missing or a folder."""
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
    """The text of a file of up to TEXT_BYTES. UserError if it is special, larger or not UTF-8; OSError if it is missing."""
    with open_file(path) as file:
        data = file.read(TEXT_BYTES + 1)
    if len(data) > TEXT_BYTES:
        raise UserError(
            f"{path} has more than {TEXT_BYTES >> 20} MiB, expected text of a few KB; name another file"
        )
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text in UTF-8; save it as that") from None


def write_whole(
    path: Path, data: bytes, last_look: Callable[[], object] = lambda: None, mode: int = 0o666
) -> None:
    """Put `data` into the file at `path`, all of it or nothing, also where the power fails.

    `last_look` is called before the file takes its name; what it raises leaves everything as it was. `mode`, less the
    umask, says who may read it, from its first byte on. OSError, which names `path`, if the disk does not take it;
    UserError if `path` is special: a file would take its place.
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
