"""Check of the file that a command will write."""

from pathlib import Path

from mirl.config import UserError
from mirl.files import refuse_special


def check_free(path: Path, force: bool) -> None:
    """Raise UserError if `path` may not be written; called before any work is done."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file")
    refuse_special(path, "name a file to write")
    if path.exists() and not force:
        raise UserError(f"{path} exists; --force writes over it")
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist; make it first, or name another file")
