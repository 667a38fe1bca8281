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
