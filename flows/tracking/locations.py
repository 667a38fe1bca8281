"""Check of where the files of a store lie: an address out of a store is data, and could name any file, any host.

The check comes before anything is fetched from an address or written to it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from mirl.config import UserError

ROOT_VARIABLE = "MLFLOW_DEFAULT_ARTIFACT_ROOT"
"""MLflow's own variable for the location where a server without a proxy for files keeps them."""
_PROXY = "mlflow-artifacts"


def own(address: str, tracking: str, roots: Sequence[str]) -> str:
    """Return `address` if it lies behind the tracking server's proxy or below one of `roots`.

    Raises UserError if it does not.
    """
    inside = [
        (address.removeprefix(root), root) for root in roots if address.startswith(f"{root.rstrip('/')}/")
    ]
    if not (
        any(
            _is_plain(rest) and _below(address, root) for rest, root in inside
        )  # the root's own name may be odd
        or (_is_plain(address) and (_is_behind(address, tracking) or any(_below(address, r) for r in roots)))
    ):
        raise UserError(
            f"the store keeps files at {address!r}, which is not its own location for them, so nothing is fetched "
            f"from there or written to it; look who changed that, or set {ROOT_VARIABLE} to the location that its "
            "server was given"
        )
    return address


def local(address: str) -> Path | None:
    """Return the path that an address of this machine's disk names; None for any other address."""
    parts = urlsplit(address)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(url2pathname(parts.path))
    return Path(address) if not parts.scheme and address.startswith("/") else None


def _is_behind(address: str, tracking: str) -> bool:
    """Return whether `address` is a location of MLflow's proxy on the tracking server itself, and not on another host."""
    parts, server = urlsplit(address), urlsplit(tracking)
    return (
        parts.scheme == _PROXY and server.scheme in ("http", "https") and parts.netloc in ("", server.netloc)
    )


def _below(address: str, root: str) -> bool:
    path, folder = local(address), local(root)
    if path is None or folder is None:
        return path is folder and address.startswith(f"{root.rstrip('/')}/")
    return path.resolve().is_relative_to(folder.resolve())


def _is_plain(address: str) -> bool:
    """Return whether `address` says what it seems to: no way upwards, no query, nothing encoded twice."""
    try:
        urlsplit(address)
    except ValueError:
        return False
    text = unquote(address)
    return unquote(text) == text and not re.search(r"[\x00-\x1f\x7f\\?#]|(^|[/:])\.\.(/|$)", text)
