"""PnG with a goal in dB, from photographs to tickets: what went too far is undone, and what comes after it is free."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirl.config import Stopped
from mirl.restore.restorer import Restorer
from mirl.study.forecast import forecast
from mirl.study.lineages import weight_steps
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.tickets.container import sha256_of
from mirl.tickets.routing import ByTask, PrunedQuality
from mirl.tickets.slim import slimmed
from tests.study.test_png import changed, file, make, ticket

ROUNDS = ["a-r1", "a-r2", "a-r3", "a-r4", "b-r1", "b-r2"]
TASKS = {"a": "denoise_15", "b": "denoise_25"}
LOSS_DB = 1.1
"""Between what a-r2 and a-r3 lose."""


@pytest.fixture(scope="module")
def made(make_study: Callable[[Path], Study], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Rounds for two requirements, trained long enough to restore something, and pruned harshly."""
    goal = {"loss_db": LOSS_DB, "fraction": 0.6}
    png = {"method": "png", "goal": goal, "structure": {"kind": "unstructured"}, "length": 0.05}
    rounds = {"dense": {"arm": "dense", "after": "init"}}
    for after, name in zip(["init", *ROUNDS], ROUNDS, strict=False):
        rounds[name] = {"arm": "png", "after": after, "task": TASKS[name[0]]}
    batches = {"batch": 8, "patch": 16}
    train = {"steps": 60, "learning_rate": 0.01, "record_every": 30, "batches": batches}
    study = changed(
        make_study(tmp_path_factory.mktemp("goal")),
        arms={"dense": {"method": "dense"}, "png": png},
        rounds=rounds,
        train=train,
    )
    make(study, *ROUNDS)
    return study


def quality(study: Study, name: str) -> PrunedQuality:
    routing = ticket(study, name).routing
    assert isinstance(routing, ByTask)
    return routing.pruned[TASKS[name[0]]]


def metrics(study: Study, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((study.files.ticket(name) / "metrics.json").read_text())
    return found


def test_what_loses_more_than_the_goal_is_undone_and_then_nothing_is_trained(made: Study) -> None:
    pruned, undone, idle = (ticket(made, name) for name in ("a-r2", "a-r3", "a-r4"))
    assert pruned.mask.density == pytest.approx(0.4, abs=0.01)
    first, second = quality(made, "a-r2"), quality(made, "a-r3")
    assert first.refused_db is None and 0 < first.grown_db - first.kept_db <= LOSS_DB
    assert second.refused_db is not None and second.grown_db - second.refused_db > LOSS_DB
    assert (second.grown_db, second.kept_db) == (first.grown_db, first.kept_db)
    assert quality(made, "a-r4") == second
    for later in (undone, idle):
        assert later.masks == pruned.masks and later.lineage.steps == 0
        assert all(later.state[name].equal(tensor) for name, tensor in pruned.state.items())
    assert [metrics(made, name)["steps"] for name in ("a-r2", "a-r3", "a-r4")] == [3, 3, 0]


def test_the_steps_of_the_weights_are_those_that_were_not_undone(made: Study) -> None:
    lineages = {sha256_of(file(made, name)): ticket(made, name).lineage for name in ROUNDS}
    found = list(weight_steps(lineages).values())
    assert found == [60, 63, 63, 63, 123, 126]
    assert [metrics(made, name)["weight_steps"] for name in ROUNDS] == found


def test_the_next_requirement_grows_into_what_is_free_and_leaves_the_first_as_it_is(made: Study) -> None:
    image_HWC = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    first, *later = (
        Restorer(ticket(made, name), threads=1)(image_HWC, task="denoise_15") for name in ROUNDS[1:]
    )
    assert all(np.array_equal(first, other) for other in later)
    assert quality(made, "b-r2").refused_db is None
    assert ticket(made, "b-r2").masks.own("denoise_25").density == pytest.approx(0.6 * 0.4, abs=0.01)
    assert ticket(made, "b-r2").routing.model_dump()["pruned"].keys() == {"denoise_15", "denoise_25"}
    assert "pruned" not in ticket(made, "a-r1").routing.model_dump()
    slim = slimmed(ticket(made, "b-r2"), ["denoise_25"]).routing.model_dump()
    assert slim["pruned"].keys() == {"denoise_25"}


@pytest.mark.parametrize("name", ["a-r2", "a-r3"])
def test_a_round_that_is_stopped_and_judged_later_ends_in_the_same_bytes(
    made: Study, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "again"
    shutil.copytree(made.root, root)
    again = Study(root=root, params=made.params)
    calm = sha256_of(file(again, name))
    shutil.rmtree(again.files.ticket(name))
    shutil.rmtree(root / ".mirl")
    asked = iter([False, True])
    with pytest.raises(Stopped, match="stopped after step 2 of 3"):
        STAGES["round"](Study(root=root, params=made.params, should_stop=lambda: next(asked)), name)
    STAGES["round"](again, name)
    assert sha256_of(file(again, name)) == calm
    said = "a-r3: undone, denoise_15 owns 40.01% of all weights, and pruned further it loses"
    assert (said in capsys.readouterr().out) == (name == "a-r3")


def test_the_forecast_is_of_a_goal_that_is_always_met(made: Study) -> None:
    found = {each.name: each for each in forecast(made.params)}
    densities = [found[name].density for name in ROUNDS]
    assert densities == pytest.approx([1, 0.4, 0.16, 0.064, 1, 0.064 + 0.936 * 0.4], abs=0.01)
    assert [name for name in ROUNDS if found[name].at_most] == ["a-r3", "a-r4"]
    for name in ("a-r1", "a-r2", "a-r3", "b-r1", "b-r2"):
        assert found[name].steps == metrics(made, name)["steps"], name
