"""Files that are written whole or not at all."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, data: bytes, last_look: Callable[[], object] = lambda: None) -> None:
    """Put `data` into the file at `path`, all of it or nothing, also where the power fails.

    `last_look` is called before the file takes its name; what it raises leaves everything as it was. OSError, which
    names `path`, where the disk does not take it.
    """
    draft = path.with_name(f".{secrets.token_hex(8)}.writing")  # shorter than any name that is already long
    try:
        with draft.open("xb") as file:
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
