import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mirl.config import UserError
from mirl.methods import METHODS
from mirl.study.forecast import forecast, together
from mirl.study.params import Params, read_params
from mirl.study.stages import STAGES
from mirl.study.study import Study

STUDIES = Path(__file__).parents[2] / "studies"


def _changed(study: Study, **sections: Any) -> Study:
    values = copy.deepcopy(yaml.safe_load((study.root / "params.yaml").read_text()))
    for name, section in sections.items():
        values[name] |= section
    return Study(root=study.root, params=Params.read(values, "params.yaml"))


def test_the_papers_search_costs_what_was_counted_of_it() -> None:
    """34.2 M iterations, about 1.8e19 FLOPs, and 3.52 % of the prunable weights at the end (MIR-L's settings)."""
    rounds = forecast(read_params(STUDIES / "paper.yaml"))
    whole = together(rounds)
    assert len(rounds) == 16
    assert whole.steps == pytest.approx(34.2e6, rel=0.005)
    assert whole.flops.dense == pytest.approx(1.8e19, rel=0.03)
    counted = {1: 0.8, 5: 0.3277, 10: 0.1074, 15: 0.0352}
    assert {k: round(rounds[k].density, 4) for k in counted} == counted
    assert whole.flops.kept == sum(each.flops.kept for each in rounds) < whole.flops.dense / 2
    assert not whole.at_most


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_ready_made_study_can_be_planned_to_its_end(path: Path) -> None:
    rounds = forecast(read_params(path))
    assert all(0 < each.density <= 1 and each.steps > 0 for each in rounds)
    # `arms` has rounds that stop before their target: its tickets are worth nothing.
    assert path.stem == "arms" or not any(each.ranks_only for each in rounds)


def test_a_short_round_ranks_only_if_its_method_says_so(study: Study) -> None:
    """Half of the schedule trains a router: the end of its arm, and not on the way to a target."""
    ranking = {"method": "imp", "schedule": "authors", "fraction": 0.5, "target": 0.2, "length": 0.5}
    rounds = {each.name: each for each in forecast(_changed(study, arms={"global": ranking}).params)}
    assert rounds["routed-r2"].steps < rounds["routed-r1"].steps
    assert [name for name, each in rounds.items() if each.ranks_only] == ["global-r2"]


def test_it_foretells_what_every_method_then_costs(study: Study) -> None:
    study = _changed(
        study,
        train={"rewind_step": 2, "steps": 8},
        arms={
            "global": {"method": "imp", "schedule": "authors", "fraction": 0.5, "length": 0.5, "target": 0.25}
        },
    )
    assert {arm.method for arm in study.params.arms.values()} == METHODS.keys()
    foretold = forecast(study.params)
    assert [each.name for each in foretold] == list(study.params.rounds)
    for stage, key in [("prepare", ""), ("init", ""), *(("round", each.name) for each in foretold)]:
        STAGES[stage](study, key)
    for each in foretold:
        found = json.loads((study.files.ticket(each.name) / "metrics.json").read_text())
        assert (each.steps, each.samples) == (found["steps"], found["samples"]), each.name
        assert each.flops.dense == pytest.approx(found["train_flops_dense"]), each.name
        assert each.density == pytest.approx(found["density/prunable"], abs=0.001), each.name
    steps = {each.name: each.steps for each in foretold}
    assert (steps["dense"], steps["global-r1"], steps["global-r2"], steps["reinit-r2"]) == (8, 3, 6, 8)
    layers = next(each for each in foretold if each.name == "layers-r1")  # where every layer keeps its share
    found = json.loads((study.files.ticket("layers-r1") / "metrics.json").read_text())
    assert layers.flops.kept == pytest.approx(found["train_flops"], rel=0.01)


def test_a_round_that_may_end_sooner_is_bounded(study: Study) -> None:
    settled = {
        "method": "imp",
        "schedule": "authors",
        "fraction": 0.5,
        "target": 0.25,
        "settled": {"every_steps": 2},
    }
    rounds = forecast(_changed(study, arms={"global": settled}).params)
    assert [each.name for each in rounds if each.at_most] == ["global-r1"]
    assert together(rounds).at_most


def test_a_round_that_cannot_be_planned_is_named_before_anything_is_trained(study: Study) -> None:
    with pytest.raises(UserError, match="round global-r2: nothing is left to remove"):
        forecast(
            _changed(
                study,
                arms={"global": {"method": "imp", "schedule": "authors", "fraction": 0.5, "target": 0.5}},
            ).params
        )


@pytest.mark.parametrize(
    ("arm", "sentence"),
    [
        (
            {"method": "imp", "schedule": "authors", "fraction": 0.5, "structure": {"kind": "n_of_m", "m": 3}},
            "round global-r1: .* are not N of 3; choose a density",
        ),
        (
            {"method": "imp", "schedule": "authors", "fraction": 0.5, "structure": {"kind": "n_of_m", "m": 4}},
            "round global-r1: .*weight has 1 inputs, which 4 does not divide",
        ),
        (
            {"method": "imp", "schedule": "authors", "fraction": 0.5, "floor": 0.4},
            "round global-r2: .* cannot be kept; with this floor and parent",
        ),
        (
            {
                "method": "imp", "schedule": "authors", "fraction": 0.99,
                "structure": {"kind": "blocks", "outputs": 64, "inputs": 64},
            },
            "round global-r[12]: .* do not hold one block",
        ),
    ],
)  # fmt: skip
def test_what_the_real_layers_cannot_reach_is_said_before_anything_is_trained(
    study: Study, arm: dict[str, Any], sentence: str
) -> None:
    study = _changed(study, arms={"global": arm})
    with pytest.raises(UserError, match=sentence):
        forecast(study.params)
    STAGES["prepare"](study, "")
    with pytest.raises(UserError, match=sentence):
        STAGES["init"](study, "")


def test_a_round_says_what_cannot_follow_it_before_it_is_trained(study: Study) -> None:
    """`init` is not made again when an arm is changed."""
    for stage, key in (("prepare", ""), ("init", ""), ("round", "dense")):
        STAGES[stage](study, key)
    floor = {"method": "imp", "schedule": "authors", "fraction": 0.5, "floor": 0.4}
    changed = _changed(study, arms={"global": floor})
    with pytest.raises(UserError, match="round global-r2: .* cannot be kept"):
        STAGES["round"](changed, "global-r1")
    assert not study.files.ticket("global-r1").exists()
    STAGES["round"](changed, "layers-r1")  # which has nothing to do with it


def test_half_of_an_n_of_m_beside_whole_layers_is_an_n_of_m(study: Study) -> None:
    structure = {"kind": "n_of_m", "m": 4, "indivisible": "keep"}
    arm = {"method": "imp", "schedule": "authors", "fraction": 0.5, "structure": structure}
    rounds = {each.name: each.density for each in forecast(_changed(study, arms={"global": arm}).params)}
    whole = 2 * rounds["global-r1"] - 1  # the share of the layers that 4 does not divide
    assert 0 < whole < 1 and rounds["global-r2"] == pytest.approx(whole + (1 - whole) / 4)
