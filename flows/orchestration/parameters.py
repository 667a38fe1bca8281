"""Choice of the params.yaml that a lottery runs with: a study of the revision, with some of its values changed."""

from pathlib import Path
from typing import Any

from mirl.config import UserError
from mirl.files import read_text
from mirl.study.params import read_params
from mirl.yaml import parse_yaml, yaml_text


def resolve_params(clone: Path, text: str, study: str, overrides: dict[str, Any]) -> str:
    """Resolve the params.yaml that is asked for, write it into `clone`, and return the study's name.

    The section `machine` stays that of the revision, whichever study is chosen: it is the machines', not the study's.
    Raises UserError if there is no such study, or a value is not one that params.yaml may have.
    """
    path = clone / "params.yaml"
    if study:
        known = sorted(found.stem for found in (clone / "studies").glob("*.yaml"))
        if study not in known:
            raise UserError(f"there is no study {study!r} at this revision; there are {', '.join(known)}")
        machine = _mapping(read_text(path)).get("machine")
        text = read_text(clone / "studies" / f"{study}.yaml")
        overrides = ({"machine": machine} if machine else {}) | overrides
    text = text or read_text(path)
    if overrides:
        values = _mapping(text)
        for name, value in overrides.items():
            _put(values, name, value)
        text = yaml_text(values)
    path.write_text(text, "utf-8")
    return read_params(path, own=None).study


def _mapping(text: str) -> dict[str, Any]:
    values = parse_yaml(text, "params.yaml")
    if not isinstance(values, dict):
        raise UserError("params.yaml has no sections, so none of their values can be changed")
    return values


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    *parts, last = name.split(".")
    for part in parts:
        below = values.setdefault(part, {})
        if not isinstance(below, dict):
            raise UserError(f"the override {name} goes through {part}, which is {below!r} and has no parts")
        values = below
    values[last] = value
