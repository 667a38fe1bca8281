"""Files that are written whole or not at all."""

import os
import threading
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, data: bytes, last_look: Callable[[], object] = lambda: None) -> None:
    """Put `data` into the file at `path`, all of it or nothing, also where the power fails.

    `last_look` is called before the file takes its name; what it raises leaves everything as it was. OSError, which
    names `path`, where the disk does not take it.
    """
    # shorter than any name that is already long; a process may write several at once
    draft = path.with_name(f".{os.getpid()}-{threading.get_native_id()}.writing")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        last_look()
        draft.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk does not say, and the draft means nothing to the user
        raise
    finally:
        draft.unlink(missing_ok=True)
