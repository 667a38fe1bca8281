"""Text of a dvc.lock, which DVC writes and servers keep, and the entries in it."""

import re
from typing import Any

from mirl.config import UserError
from mirl.yaml import parse_yaml, yaml_text

Lock = dict[str, dict[str, Any]]
"""Stage name -> its entry of dvc.lock: what its last result was made from, and what that is."""

STAGE = r"[A-Za-z0-9_][\w.-]*(@[\w.-]+)?"
"""Pattern of a stage's address that is fit for a command line."""
_SCHEMA = "2.0"  # of dvc.lock
_MOST_VALUES = 1_000_000


def parse_lock(text: str) -> Lock:
    """Return the entries in the text of a dvc.lock.

    Raises UserError if the text is no dvc.lock, or an entry has a name or a digest that could lead elsewhere.
    """
    try:
        values = _read(text)
        stages = values.get("stages", {})
        if values.get("schema", _SCHEMA) == _SCHEMA and isinstance(stages, dict):
            for name, entry in stages.items():
                _check_entry(name, entry)
            return dict(stages)
    except (AttributeError, TypeError):
        pass
    raise UserError(f"this is no dvc.lock of schema {_SCHEMA}; delete it, DVC writes a new one")


def _read(text: str) -> Any:
    """Return the plain data of a dvc.lock; None if it is not YAML."""
    try:
        return parse_yaml(text, "dvc.lock", _MOST_VALUES) or {}
    except UserError:
        return None


def _check_entry(name: str, entry: dict[str, Any]) -> None:
    """Raise UserError if an entry is not of a stage, or one of its digests could be another path in a cache.

    A server may have kept the entry.
    """
    if not re.fullmatch(STAGE, name):
        raise UserError(
            f"dvc.lock has the stage {name!r}, which DVC does not allow; delete it, DVC writes a new one"
        )
    for item in [*entry.get("deps", []), *entry.get("outs", [])]:
        digest = item.get("md5", "")
        if not re.fullmatch(r"([0-9a-f]{32}(\.dir)?)?", digest):
            raise UserError(f"dvc.lock has the digest {digest!r} in {name}; delete it, DVC writes a new one")


def lock_text(lock: Lock) -> str:
    """Return the text of a dvc.lock with these entries, as DVC writes it."""
    return yaml_text({"schema": _SCHEMA, "stages": lock})
