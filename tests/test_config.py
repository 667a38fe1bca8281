import itertools
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from mirl.config import Section, UserError, fingerprint, non_default_values
from mirl.yaml import parse_yaml, read_yaml, yaml_text


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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1", "line 2, column 1: did not find"),
        ("a:\n\t- b", "line 2, column 1: found character that cannot start"),
        (
            "a: 1\nb: 2\na: 3",
            "line 3, column 1: the key `a` is written twice, first in line 1; keep one of them$",
        ),
        ("a: {b: 1, 'b': 2}", "line 1, column 11: the key `b` is written twice"),
        ("a: &a {b: 1}\nc: {<<: *a, d: 1, d: 2}", "line 2, column 19: the key `d` is written twice"),
        ("a: {<<: {b: 1}, <<: {b: 2}}", "line 1, column 17: found duplicate merge key"),
        ("a: 1\n---\nb: 1", "line 2, column 1: but found another document"),
        ("a: 1\nb: 2026-13-30", "line 2, column 4: `2026-13-30` cannot be read .month.*; write it in quotes"),
        ("a: !!python/object:os.system x", "line 1, column 4: could not determine a constructor"),
        ("a: b\0", "line 1, column 5: .*; save the file as UTF-8$"),
        ("a: b\nc: \ufeffd", "line 2, column 4: .*; save the file as UTF-8$"),
    ],
)
def test_yaml_that_is_none_is_refused_with_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=f"params.yaml is not valid YAML: {sentence}") as caught:
        read_yaml(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_a_file_that_is_not_utf_8_is_refused_with_its_place(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "params.yaml").write_bytes("study: demo\n# n\xe4chste\n".encode(encoding))
    place = "line 1, column 1" if encoding == "utf-16" else "line 2, column"
    with pytest.raises(UserError, match=f"params.yaml.*{place}.*; save"):
        read_yaml(tmp_path / "params.yaml")


def test_a_byte_order_mark_and_other_ends_of_lines_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes("\ufeffa: 1\r\nb: 2\rc: é\n".encode())
    assert read_yaml(tmp_path / "params.yaml") == {"a": 1, "b": 2, "c": "é"}


@pytest.mark.parametrize("inner", ["[" * 200_000, "{a: " * 200_000, "- " * 200_000, "[" * 101 + "]" * 101])
def test_what_is_nested_too_deeply_is_refused(inner: str) -> None:
    with pytest.raises(
        UserError, match="params.yaml is nested too deeply, from line 1, column .*; write it flatter"
    ):
        parse_yaml(inner, "params.yaml")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({1: 2}, "x: the key 1 in `the file` is no text; put it in quotes$"),
        (
            {"inner": {date(2026, 11, 30): 2}},
            "x: the key 2026-11-30 in `inner` is no text; put it in quotes$",
        ),
        ({"name": 10}, "x: `name` is 10, but input should be a valid string; put it in quotes$"),
        ({"name": date(2026, 11, 30)}, "x: `name` is 2026-11-30, but .*; put it in quotes$"),
        ({"name": None}, "x: `name` is None, but input should be a valid string$"),
    ],
)
def test_words_that_yaml_takes_for_something_else_are_put_in_quotes(values: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}"):
        Outer.read(values, "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6e-3", 0.006), ("-1E5", -1e5), (".5e2", ".5e2"), (".5e+2", 50.0), ("1.e1", 10.0), ("6e", "6e"), ("e3", "e3"),
        ("010", 10), ("0o10", 8), ("0x10", 16), ("1_000", 1000), ("23:20", "23:20"), ("no", "no"), ("On", "On"),
        ("true", True), ("y", "y"), ("2026-11-30", date(2026, 11, 30)), ("null", None), ("~", None), ('"1"', "1"),
    ],
)  # fmt: skip
def test_a_plain_word_is_what_dvc_takes_it_for(text: str, expected: Any) -> None:
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
