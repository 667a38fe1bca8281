"""Login of a study's servers: secrets generated once, kept as shell lines in a file that only its owner can read."""

import fcntl
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path

from mirl.config import UserError
from mirl.files import read_text, write_whole

USER = "mirl"
"""Name by which both servers know us."""
LOGINS = {
    "PREFECT_API_URL": {"PREFECT_API_AUTH_STRING": "PREFECT_SERVER_API_AUTH_STRING"},
    "MLFLOW_TRACKING_URI": {
        "MLFLOW_TRACKING_USERNAME": "MLFLOW_AUTH_ADMIN_USERNAME",
        "MLFLOW_TRACKING_PASSWORD": "MLFLOW_AUTH_ADMIN_PASSWORD",
    },
}
"""Variable of a server's address -> what a client says to the server -> variable in which the server looks for it."""


def folder(root: Path) -> Path:
    """Return the folder of `root` that nobody else can enter."""
    return root.resolve() / ".mirl" / "login"


def file(root: Path) -> Path:
    """Return the path of the login file: `source` reads it into a terminal, on this machine or, copied, on another."""
    return folder(root) / "exports"


def private(place: Path) -> Path:
    """Make the folder `place`, if it is missing, and close it to others.

    Raises UserError if that cannot be done, for example because the folder belongs to somebody else.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        place.chmod(0o700)
    except OSError as error:
        raise UserError(
            f"{place} cannot be made a folder closed to others ({error.strerror}); remove it, or make it your own"
        ) from None
    return place


def keep(root: Path, **changed: str) -> dict[str, str]:
    """Return the variables of the login file, after generating the secrets it lacks and setting what is in `changed`.

    A login that the servers' own variables set takes precedence over the one in the file. Raises UserError if the file
    cannot be read or written.
    """
    guard = os.open(private(folder(root)), os.O_RDONLY)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two that begin at once would draw two secrets
        before = kept(root)
        drawn = {
            "PREFECT_API_AUTH_STRING": drawn_login(),
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": secrets.token_hex(24),
        }
        own = {
            said: os.environ[asked]
            for login in LOGINS.values()
            for said, asked in login.items()
            if os.environ.get(asked)
        }
        variables = drawn | before | own | changed
        if variables != before:
            _write(file(root), variables)
        return variables
    finally:
        os.close(guard)


def drawn_login() -> str:
    """Generate a random login in the form that Prefect asks for, NAME:PASSWORD."""
    return f"{USER}:{secrets.token_hex(24)}"


def kept(root: Path) -> dict[str, str]:
    """Return the variables of the login file; an empty dict if there is no file.

    Raises UserError if the file cannot be read, could be read by others, or is not what was written.
    """
    try:
        words = [word for word in shlex.split(read_text(_closed(file(root)))) if word != "export"]
    except FileNotFoundError:
        return {}
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"the login in {file(root)} cannot be read ({error}); remove it") from None
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _closed(path: Path) -> Path:
    """Return `path`. Raises UserError if others could read the file."""
    if path.exists() and path.stat().st_mode & 0o077:
        raise UserError(f"others could read the login in {path}; remove it, so that another is drawn")
    return path


def lacking(root: Path, known: Mapping[str, str]) -> dict[str, str]:
    """Return the logins missing from `known`, for each server address in it that equals the one in the login file."""
    variables = kept(root)
    return {
        said: variables[said]
        for address, login in LOGINS.items()
        if address in variables and known.get(address) == variables[address]
        if not any(known.get(said) for said in login)
        for said in login
        if said in variables
    }


def _write(path: Path, variables: dict[str, str]) -> None:
    lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    try:
        write_whole(path, lines.encode(), mode=0o600)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); mend that and run it again") from None
