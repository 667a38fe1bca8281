"""YAML text as plain data, read as DVC reads it: YAML 1.2 by ruamel.yaml; a key that is written twice is refused."""

import io
import itertools
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from mirl.errors import UserError
from mirl.files import read_text

MOST_VALUES = 100_000
"""Largest number of values in one YAML file: aliases can make a few lines stand for billions."""
MOST_DEPTH = 100
"""Largest number of values inside of one another: the parser written in C has no bound of its own."""
_NO_TEXT = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""Character that a YAML file must not have, as a byte order mark behind its begin."""
_MERGE = "tag:yaml.org,2002:merge"


class _Constructor(SafeConstructor):
    """DVC's constructor, whose every error names the place."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (YAMLError, RecursionError):
            raise
        except Exception as error:  # of a date that is none, a number that is too long
            why = " ".join(str(error).split())[:80] or type(error).__name__
            what = f"{_brief(node)} cannot be read ({why}); write it in quotes if it is text"
            raise ConstructorError(None, None, what, node.start_mark) from None


def read_yaml(path: Path) -> Any:
    """Return the plain data of a YAML file. Raises UserError if the file is missing or is not valid YAML."""
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `mirl study demo` writes one") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str, most: int = MOST_VALUES) -> Any:
    """Return the plain data of the YAML `text`, of at most `most` values; None if there is none.

    Raises UserError, which names `source`, the line and the column, if `text` is not valid YAML, or a key is written
    twice.
    """
    if wrong := _NO_TEXT.search(text, 1 if text.startswith("\ufeff") else 0):
        before = text[: wrong.start()]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        said = f"line {line}, column {column}: {wrong[0]!a} is no character of a text; save the file as UTF-8"
        raise UserError(f"{source} is not valid YAML: {said}")
    try:
        _refuse_deep(text, source)
        reader = _yaml()
        reader.Constructor = _Constructor
        constructor, _ = reader.get_constructor_parser(text)
        node = constructor.get_single_node()
        if node is not None and _size(node, {}, most) <= most:
            _refuse_repeated(constructor, node, set())
            return constructor.construct_document(node)
    except MarkedYAMLError as error:
        raise UserError(f"{source} is not valid YAML: {_said(error)}") from None
    except UserError:
        raise
    except Exception as error:  # what a collection with a tag of its own raises, such as !!omap
        why = " ".join(str(error).split())[:80] or type(error).__name__
        raise UserError(f"{source} is not valid YAML: a value cannot be read ({why})") from None
    if node is None:
        return None
    raise UserError(f"{source} has more than {most} values, repeated ones counted; write less")


def yaml_text(values: Any) -> str:
    """Write plain data as YAML text, which `parse_yaml` and DVC read back as the same data."""
    stream, writer = io.StringIO(), _yaml()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed as what it is at first
    writer.dump(values, stream)
    return stream.getvalue()


def _yaml() -> YAML:
    return YAML(typ="safe")  # as DVC: the parser in C where it is installed


def _refuse_deep(text: str, source: str) -> None:
    """Raise UserError if values lie too deep inside of one another; nothing is composed, and nothing recurses."""
    depth = -2  # the stream and the document around the values
    for event in _yaml().parse(text):
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > MOST_DEPTH:
            place = _place(event.start_mark)
            raise UserError(f"{source} is nested too deeply, from {place} on; write it flatter")


def _size(node: Node, known: dict[int, int], most: int) -> int:
    """Count the values in `node`; an aliased value counts at every place, a node that holds itself as `most`."""
    if not isinstance(node, CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = most  # for one that holds itself
        known[id(node)] = 1 + sum(_size(each, known, most) for each in _inner(node))
    return known[id(node)]


def _refuse_repeated(constructor: SafeConstructor, node: Node, seen: set[int]) -> None:
    """Raise ConstructorError if a mapping in `node` has a key twice; DVC lets it pass beside `<<`."""
    if not isinstance(node, CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    first: dict[Any, ScalarNode] = {}
    for key_node, _ in node.value if isinstance(node, MappingNode) else []:
        if not isinstance(key_node, ScalarNode) or key_node.tag == _MERGE:
            continue
        key = constructor.construct_object(key_node, deep=True)
        if key in first:
            line = first[key].start_mark.line + 1
            what = f"the key {_brief(key_node)} is written twice, first in line {line}; keep one of them"
            raise ConstructorError(None, None, what, key_node.start_mark)
        first[key] = key_node
    for each in _inner(node):
        _refuse_repeated(constructor, each, seen)


def _inner(node: CollectionNode) -> list[Node]:
    return list(itertools.chain(*node.value)) if isinstance(node, MappingNode) else list(node.value)


def _said(error: MarkedYAMLError) -> str:
    """Return what is wrong, and where, without the links and the lines that the library adds."""
    what, mark = error.problem or error.context, error.problem_mark or error.context_mark
    return f"{f'{_place(mark)}: ' if mark else ''}{' '.join(str(what).split())}"


def _place(mark: StringMark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _brief(node: Node) -> str:
    text = str(node.value)
    return f"`{text if len(text) <= 40 else f'{text[:40]}...'}`"
