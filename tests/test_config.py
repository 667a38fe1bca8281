import itertools
from pathlib import Path
from typing import Any

import pytest

from mirl.config import Section, UserError, fingerprint, non_default_values, parse_yaml, read_yaml, yaml_text


class Inner(Section):
    patch: int = 64
    share: float = 0.5


class Outer(Section):
    name: str
    inner: Inner = Inner()
    many: dict[str, Inner] = {}  # noqa: RUF012 - pydantic copies it


def test_reads_what_is_valid() -> None:
    outer = Outer.read({"name": "x", "inner": {"patch": 48, "share": 1}}, "params.yaml")
    assert (outer.inner.patch, outer.inner.share) == (48, 1.0)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": "x", "iner": {}}, r"params.yaml: `iner` is not a known key; did you mean `inner`\?"),
        ({"name": "x", "inner": {"pach": 1}}, r"`inner.pach` is not a known key; did you mean `patch`\?"),
        (
            {"name": "x", "many": {"a": {"shar": 1}}},
            r"`many.a.shar` is not a known key; did you mean `share`\?",
        ),
        ({}, r"`name` is missing"),
        ({"nme": "x"}, r"`nme` is not a known key; did you mean `name`\?"),
        ({"name": 3}, r"`name` is 3, but input should be a valid string"),
        (
            {"name": "x", "inner": {"patch": "48"}},
            r"`inner.patch` is '48', but input should be a valid integer",
        ),
        ([1], r"params.yaml: `the file` is \[1\]"),
        (
            {"name": "x", "inner": {"share": float("inf")}},
            r"`inner.share` is inf, but input should be a finite number",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_with_the_nearest_key(
    values: dict[str, Any] | list[int], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        Outer.read(values, "params.yaml")


def test_sections_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Inner().patch = 3


@pytest.mark.parametrize("text", ["a: [1", "a:\n\t- b"])
def test_yaml_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match="is not valid YAML"):
        read_yaml(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("6e-3", 0.006), ("-1E5", -1e5), (".5e2", 50.0), ("1.e1", 10.0), ("6e", "6e"), ("e3", "e3")],
)
def test_an_exponent_makes_a_number_as_in_yaml_1_2(text: str, expected: float | str) -> None:
    value = parse_yaml(f"key: {text}", "params.yaml")["key"]
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize("word", ["1e3", "6e-3", "12e45", "on", "2026-11-22"])
def test_words_that_look_like_something_else_stay_words(word: str) -> None:
    assert parse_yaml(yaml_text({word: [word, 6e-3, 1e5]}), "params.yaml") == {word: [word, 6e-3, 1e5]}


def test_a_missing_file_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`mirl study demo` writes one"):
        read_yaml(tmp_path / "params.yaml")


def test_the_fingerprint_is_golden() -> None:
    """A changed value here renames every checkpoint and every MLflow run that people have."""
    named = fingerprint(
        {"train": {"steps": 10}, "arm": {"method": "imp", "fraction": 0.2}}, {"data": "ab", "ticket": "cd"}
    )
    assert named == "cff9794d08b1775e38d2e5aed65428847b7be24b1d1c5b94d7d6afec9f6a51f5"


def test_the_fingerprint_sees_every_value_and_every_input_but_no_order() -> None:
    base = fingerprint({"a": 1, "b": 2}, {"x": "1", "y": "2"})
    assert base == fingerprint({"b": 2, "a": 1}, {"y": "2", "x": "1"})
    others = [
        fingerprint({"a": 1, "b": 3}, {"x": "1", "y": "2"}),
        fingerprint({"a": 1, "b": 2}, {"x": "1", "y": "3"}),
    ]
    assert len({base, *others}) == 3


def test_a_new_key_with_its_default_renames_nothing() -> None:
    assert non_default_values(Outer(name="x", inner=Inner(patch=48))) == {"name": "x", "inner": {"patch": 48}}
    assert non_default_values(Outer(name="x", inner=Inner(patch=64))) == {"name": "x"}


@pytest.mark.parametrize(
    "last", ["[*h, *h, *h, *h, *h, *h, *h, *h, *h]", "{a: *h, b: *h, c: &self [*self, *h]}", "&self [*self]"]
)
def test_a_file_that_stands_for_billions_of_values_is_refused(last: str) -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in itertools.pairwise("abcdefgh")]
    with pytest.raises(UserError, match="more than 100000 values"):
        parse_yaml("\n".join([*lines, f"i: {last}"]), "params.yaml")


def test_an_alias_is_taken() -> None:
    assert parse_yaml("a: &a {b: 1}\nc: [*a, *a]", "params.yaml")["c"] == [{"b": 1}, {"b": 1}]


@pytest.mark.parametrize(
    "value", ["2020-99-99", "0b_", '!!int ""', '"\\UFFFFFFFF"', "!!bool x", "9" * 5000, "\x01", "\ud800"]
)
def test_a_value_that_cannot_be_made_is_said(value: str) -> None:
    with pytest.raises(UserError, match="not valid YAML"):
        parse_yaml(f"x: {value}", "params.yaml")


def test_merged_keys_are_counted_before_they_are_merged() -> None:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    with pytest.raises(UserError, match="more than 100000 values"):
        parse_yaml("\n".join(lines), "params.yaml")


def test_nothing_is_nothing() -> None:
    assert parse_yaml("", "params.yaml") is None and parse_yaml("# a", "params.yaml") is None
