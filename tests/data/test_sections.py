import pytest

from mirl.config import UserError
from mirl.data.sections import BatchSection, DataSection


def test_sources_are_told_apart_by_their_kind():
    section = DataSection.read(
        {
            "root": "x",
            "sources": {"a": {"kind": "skimage"}, "b": {"kind": "folder", "path": "p", "split": "val"}},
        },
        "params.yaml",
    )
    assert [source.kind for source in section.sources.values()] == ["skimage", "folder"]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"root": "x", "sources": {"a": {"kind": "cloud"}}}, "cloud"),
        ({"root": "x", "sources": {}}, "sources"),
        ({"root": "x", "sources": {"a": {"kind": "folder", "path": "p", "split": "tests"}}}, "tests"),
        ({"root": "x", "sources": {"a": {"kind": "skimage"}}, "leaks": "yes"}, "leave_out"),
        ({"root": "x", "sources": {"a": {"kind": "skimage"}}, "leak": "allow"}, "leaks"),
    ],
)
def test_what_is_not_a_source_is_refused(values, word):
    with pytest.raises(UserError, match=word):
        DataSection.read(values, "params.yaml")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"balance": {"derrain": 1.0}}, "derain"),
        ({"balance": {"derain": 0.0}}, "add up to 0"),
        ({"balance": {"derain": -1.0}}, "from 0 on"),
        ({"synthetic": {"derain": 1.5}}, "[0, 1]"),
        ({"batch": 0}, "batch"),
        ({"patch": "64"}, "patch"),
    ],
)
def test_shares_that_make_no_sense_are_refused(values, word):
    with pytest.raises(UserError) as refused:
        BatchSection.read(values, "params.yaml")
    assert word in str(refused.value)
