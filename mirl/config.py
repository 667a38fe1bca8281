"""Base of every settings section: immutable, checked against unknown keys, and named by a fingerprint.

Each package defines its own section beside the code it steers; `mirl.study.params` puts them together.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from mirl.errors import Stopped, UserError

__all__ = [
    "Section",
    "Stopped",
    "UserError",
    "fingerprint",
    "non_default_values",
]

SHOWN = 200
"""Number of characters of a wrong value that a message quotes."""
MENDING = {"string_type": "; put it in quotes"}
"""pydantic's type of an error -> how to mend a plain value that is of another kind than it looks."""
NEAR = 0.6
"""Similarity, in [0, 1], from which an unknown key is taken for a misspelt known one."""


class Section(BaseModel):
    """Part of params.yaml: immutable and keyword-only; an unknown key or a wrong type is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def read(cls, values: Any, source: str) -> Self:
        """Check `values` (plain YAML data) and return the section.

        Raises UserError, which names the key, the value given and the nearest valid key.
        """
        _refuse_other_keys(values, source, "the file")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(_sentence(cls, error, source)) from None


def fingerprint(section: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Compute the SHA-256 digest (64 hex digits) that names a piece of work by its parameters and its inputs.

    `section` is the stage's own parameters *without defaults* (`non_default_values`), so adding a parameter with a
    neutral default renames nothing; `inputs` maps a name to the digest of each input.
    """
    text = json.dumps([section, dict(inputs)], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def non_default_values(section: BaseModel) -> dict[str, Any]:
    """Return the values of `section` that differ from their defaults, as plain JSON data."""
    return section.model_dump(mode="json", exclude_defaults=True)


def _refuse_other_keys(values: Any, source: str, place: str) -> None:
    """Raise UserError if a key in `values` is no text: to YAML 1, null, true and 2026-11-30 are something else."""
    for key, value in values.items() if isinstance(values, Mapping) else []:
        if not isinstance(key, str):
            raise UserError(f"{source}: the key {_brief(key)} in `{place}` is no text; put it in quotes")
        _refuse_other_keys(value, source, key if place == "the file" else f"{place}.{key}")


def _sentence(model: type[BaseModel], error: ValidationError, source: str) -> str:
    first = min(error.errors(), key=_news)
    shown, holder, wanted = _walk(model, first["loc"])
    place = _brief(".".join(shown))[1:-1] or "the file"
    if first["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(shown[-1], list(holder.model_fields), n=1, cutoff=NEAR)
        hint = f"did you mean `{nearest[0]}`?" if nearest else f"the keys there are {_keys(holder)}"
        return f"{source}: `{place}` is not a known key; {hint}"
    if first["type"] == "missing":
        return f"{source}: `{place}` is missing"
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{source}: {_about_tag(place, first['input'], first['ctx'])}"
    message = first["msg"].removeprefix("Value error, ")
    if not shown and first["type"] == "value_error":  # about several keys: the whole file is no news
        return f"{source}: {message}"
    if wanted and first["type"] == "model_type":
        message = f"it is made of the keys {_keys(wanted)}"
    message = f"{message[:1].lower()}{message[1:]}"
    given = first["input"]
    if given and isinstance(given, Mapping):  # about several of its keys, which the message names
        return f"{source}: `{place}`: {message}"
    if isinstance(given, int | float | date):
        message += MENDING.get(first["type"], "")
    return f"{source}: `{place}` is {_brief(given)}, but {message}"


def _about_tag(place: str, given: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """Return a sentence about the key that says which section of a union is meant, and is unknown or not there."""
    key = context["discriminator"].strip("'")
    if "expected_tags" not in context:
        return f"`{place}.{key}` is missing"
    known = " or ".join(context["expected_tags"].rsplit(", ", maxsplit=1))
    return f"`{place}.{key}` is {_brief(given[key])}, but input should be {known}"


def _brief(value: Any) -> str:
    """Return the `repr` of a value, shortened to about SHOWN characters."""
    text = str(value) if isinstance(value, date) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}...{text[-1]}"


def _news(found: ErrorDetails) -> int:
    """Rank an error of pydantic from 0, the most informative, to 2.

    A misspelt key is also reported as a missing one, and for the other members of a union everything is wrong.
    """
    if found["type"] == "extra_forbidden":
        return 0
    return 2 if found["type"].endswith("_type") and isinstance(found["input"], Mapping) else 1


def _keys(section: type[BaseModel]) -> str:
    return ", ".join(section.model_fields)


KeyLocation = tuple[list[str], type[BaseModel], type[BaseModel] | None]


def _walk(model: type[BaseModel], place: tuple[int | str, ...]) -> KeyLocation:
    """Return the location of a key without pydantic's union tags, the section that holds it, and the section wanted.

    The section wanted is None if a plain value belongs there.
    """
    shown: list[str] = []
    holder, current = model, cast(Any, model)
    for part in place:
        while get_origin(current) is Annotated:
            current = get_args(current)[0]
        if get_origin(current) in (Union, UnionType):
            models = [side for side in get_args(current) if _is_model(side)]
            # the tag of a discriminated union; of another the class, or function-after[its validator(), class]
            tagged = [
                side
                for side in models
                if _has_tag(side, part) or side.__name__ in re.findall(r"\w+", str(part))
            ]
            if tagged or part not in {key for side in models for key in side.model_fields}:
                current = tagged[0] if tagged else None
                continue
            current = models[0]
        if _is_model(current):
            holder = current
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:
            current = get_args(current)[-1] if get_origin(current) in (dict, list) else None
        shown.append(str(part))
    sides = [side for side in (current, *get_args(current)) if _is_model(side)]
    return shown, holder, sides[0] if sides else None


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _has_tag(model: type[BaseModel], tag: int | str) -> bool:
    return any(
        get_origin(f.annotation) is Literal and tag in get_args(f.annotation)
        for f in model.model_fields.values()
    )
