"""What a routing chooses by, and what it refuses."""

from typing import Any

import pytest

from mirl.config import UserError
from mirl.tickets.routing import ROUTINGS, ByTask, Static

EXAMPLES: dict[str, dict[str, Any]] = {
    "static": {"kind": "static"},
    "task": {"kind": "task", "tasks": {"derain": "heavy", "dehaze": "light"}},
    "work": {"kind": "work", "levels": {"easy": 0.25, "hard": 1.0}},
    "difficulty": {
        "kind": "difficulty",
        "levels": {"easy": 0.25, "hard": 1.0},
        "patch": 64,
        "work": 0.5,
        "curve": [
            {"price": 1.5, "work": 0.25, "shares": [1.0, 0.0]},
            {"price": -0.5, "work": 1.0, "shares": [0.0, 1.0]},
        ],
    },
}
"""An entry for every routing; without one its contract is not tested, and the test says so."""


def test_every_routing_has_an_example() -> None:
    assert EXAMPLES.keys() == ROUTINGS.keys()


@pytest.mark.parametrize("kind", ROUTINGS)
def test_every_kind_writes_what_it_reads(kind: str) -> None:
    routing = ROUTINGS[kind].read(EXAMPLES[kind], "test")
    assert routing.model_dump(mode="json") == EXAMPLES[kind]


def test_what_pruning_has_cost_stands_beside_the_masks_only_where_it_was_measured() -> None:
    quality = {"grown_db": 30.5, "kept_db": 30.25}
    values = EXAMPLES["task"] | {"pruned": {"heavy": quality, "light": quality | {"refused_db": 29.5}}}
    routing = ByTask.read(values, "test")
    assert routing.model_dump(mode="json") == values
    assert routing.words() == (
        "by task: heavy for derain (pruned at a loss of 0.25 dB); "
        "light for dehaze (pruned at a loss of 0.25 dB, not further at one of 1.00 dB)"
    )
    with pytest.raises(UserError, match="`pruned` names the mask other, which serves no task"):
        ByTask.read(EXAMPLES["task"] | {"pruned": {"other": quality}}, "test")
    assert "pruned" not in ByTask.read(EXAMPLES["task"] | {"pruned": {}}, "test").model_dump()


def test_the_one_mask_is_the_default() -> None:
    assert Static().kind == "static"
    with pytest.raises(UserError, match="kind"):
        Static.read({"kind": "by-mood"}, "test")


def test_a_routing_by_task_uses_each_of_its_masks_once() -> None:
    routing = ByTask(kind="task", tasks={"derain": "heavy", "dehaze": "light", "denoise_50": "light"})
    assert routing.masks(["heavy", "light", "other"]) == ["heavy", "light"]


@pytest.mark.parametrize("tasks", [{}, {"../x": "heavy"}, {"derain": "a/b"}])
def test_a_routing_by_no_task_or_to_no_name_is_refused(tasks: dict[str, str]) -> None:
    with pytest.raises(UserError, match="tasks"):
        ByTask.read({"kind": "task", "tasks": tasks}, "test")
