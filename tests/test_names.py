"""The forms of names and digests."""

import pytest
from pydantic import TypeAdapter, ValidationError

from mirl.config import UserError
from mirl.names import Digest, DigestOrNone, Name, NameOrNone, named

GOOD = ["global-r1", "init", "a", "7", "Bench_2.1", "x" * 100]
BAD = [
    "", "-x", "--force", ".x", "..", "../x", "a/b", "a b", "a\n", "a\x1b[2J", "$(x)", "a;b", "grün", "a\u202eb",
    "x" * 101, "a\0", "\udcff", "`x`", "a@b", "a'b",
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_name_is_taken(name: str) -> None:
    assert named(name, "the ticket's name") == name
    assert TypeAdapter(Name).validate_python(name) == TypeAdapter(NameOrNone).validate_python(name) == name


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_what_is_no_name_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match="the ticket's name is ") as caught:
        named(name, "the ticket's name")
    assert str(caught.value).isprintable()
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)
    if name:
        with pytest.raises(ValidationError):
            TypeAdapter(NameOrNone).validate_python(name)


@pytest.mark.parametrize("text", ["f" * 63, "f" * 65, "F" * 64, "f" * 64 + "\n", "../" * 21 + "x"])
def test_what_is_no_digest_is_refused(text: str) -> None:
    for kind in (Digest, DigestOrNone):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(text)
    assert TypeAdapter(DigestOrNone).validate_python("") == ""
