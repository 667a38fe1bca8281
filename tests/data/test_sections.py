from typing import Any

import pytest

from mirl.config import UserError
from mirl.data.sections import BatchSection, DataSection
from mirl.data.tasks import DEFAULT, table
from mirl.data.tasks.pairs import OwnPairsSection


def test_sources_are_told_apart_by_their_kind() -> None:
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
def test_what_is_not_a_source_is_refused(values: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        DataSection.read(values, "params.yaml")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"balance": {"derain": 0.0}}, "add up to 0"),
        ({"balance": {"derain": -1.0}}, "from 0 on"),
        ({"synthetic": {"derain": 1.5}}, "[0, 1]"),
        ({"batch": 0}, "batch"),
        ({"patch": "64"}, "patch"),
    ],
)
def test_shares_that_make_no_sense_are_refused(values: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError) as refused:
        BatchSection.read(values, "params.yaml")
    assert word in str(refused.value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"balance": {"derrain": 1.0}},
            "`train.batches.balance`: 'derrain' is not a restoration task; known are den",
        ),
        (
            {"synthetic": {"x": 1.0}},
            "`train.batches.synthetic`: 'x' is not a restoration task; known are denoise_15",
        ),
        (
            {"synthetic": {"own": 0.5}},
            "own has a share of 0.5, but its pictures cannot be made from photographs",
        ),
    ],
)
def test_shares_of_no_task_are_refused(values: dict[str, Any], sentence: str) -> None:
    tasks = {**DEFAULT, **table({"own": OwnPairsSection(kind="pairs")})}
    with pytest.raises(UserError, match=sentence):
        BatchSection.read(values, "params.yaml").refuse_unknown(tasks)
    BatchSection(balance={"own": 1.0, "derain": 0.0}, synthetic={"own": 0.0}).refuse_unknown(tasks)


def test_by_default_all_test_pairs_are_made_that_can_be() -> None:
    values = {"root": "x", "sources": {"a": {"kind": "skimage"}}}
    assert [task.name for task in DataSection.read(values, "p").made] == ["derain", "dehaze"]
    own = {"own": {"kind": "pairs"}, "shared": {"kind": "social"}, "coded": {"kind": "jpeg"}}
    section = DataSection.read(values | {"tasks": own}, "p")
    assert list(section.table) == ["own", "shared", "coded"]
    assert [task.name for task in section.made] == ["shared", "coded"]
    assert DataSection.read(values | {"tasks": own, "synthesise": []}, "p").made == []


PAIRED = {"kind": "pairs", "input": "i", "target": "t", "split": "train"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"sources": {"p": PAIRED | {"task": "denoise_15"}}},
            "`sources.p.task` is 'denoise_15', which is no paired task of the study; those are derain, dehaze$",
        ),
        (
            {"tasks": {"n": {"kind": "denoise", "sigma": 5}}, "sources": {"p": PAIRED | {"task": "derain"}}},
            "those are none$",
        ),
        ({"synthesise": ["denoise_15"]}, "`synthesise` has 'denoise_15', .* those are derain, dehaze$"),
        (
            {"tasks": {"own": {"kind": "pairs"}}, "synthesise": ["own"]},
            "`synthesise` has 'own', .* are none$",
        ),
        (
            {"tasks": {"denoise": {"kind": "pairs"}}, "sources": {"m": {"kind": "mirl"}}},
            "call the task otherwise",
        ),
    ],
)
def test_tasks_that_a_study_does_not_have_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        DataSection.read({"root": "x", "sources": {"a": {"kind": "skimage"}}} | values, "params.yaml")


def test_tasks_alone_keep_their_shares_or_are_drawn_equally_often() -> None:
    section = BatchSection(balance={"derain": 2.0, "dehaze": 1.0, "denoise_25": 0.0})
    assert section.only(()) is section
    assert section.only(("derain", "denoise_25")).balance == {"derain": 2.0, "denoise_25": 0.0}
    assert section.only(("denoise_25", "denoise_50")).balance == {"denoise_25": 1.0, "denoise_50": 1.0}
    assert BatchSection().only(("derain",)).balance == {"derain": 1.0}
