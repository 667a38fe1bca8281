from types import SimpleNamespace

import pytest
import yaml

from mirl.study.dry_run import dry_run, one_of_each_arm, step_seconds
from mirl.study.params import Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.training.run import READ_EVERY


def _with_rounds(study: Study, *names: str) -> Params:
    values = yaml.safe_load((study.root / "params.yaml").read_text())
    values["rounds"]["random-r1"] = {"arm": "random", "after": "global-r1"}
    values["rounds"] = {name: values["rounds"][name] for name in names}
    return Params.read(values, "params.yaml")


def _contents(study: Study) -> set[str]:
    return {path.relative_to(study.root).as_posix() for path in study.root.rglob("*")} - {".mirl"}


def test_every_stage_is_done_with_one_round_of_each_arm_and_nothing_stays(study: Study) -> None:
    before = _contents(study)
    params = _with_rounds(study, "dense", "global-r1", "random-r1", "global-r2")
    done = [stage for stage, _ in dry_run(params, study.root)]
    rounds = ("dense", "global-r1", "random-r1")  # global-r2 is the second of its arm, and no arm needs it
    assert done == [
        "prepare", "init", *(f"{stage} {name}" for stage in ("round", "evaluate") for name in rounds), "compare",
    ]  # fmt: skip
    assert _contents(study) == before


def test_an_arm_comes_with_the_rounds_that_lead_to_it(study: Study) -> None:
    params = _with_rounds(study, "dense", "global-r1", "layers-r1", "global-r2", "random-r2")
    assert one_of_each_arm(params) == ["dense", "global-r1", "layers-r1", "global-r2", "random-r2"]


def test_the_prepared_data_is_used_where_there_is_some(study: Study) -> None:
    STAGES["prepare"](study, "")
    before = {path: path.read_bytes() for path in study.files.prepared.iterdir()}
    done = [stage for stage, _ in dry_run(_with_rounds(study, "dense"), study.root)]
    assert done == ["init", "round dense", "evaluate dense", "compare"]
    assert {path: path.read_bytes() for path in study.files.prepared.iterdir()} == before


def test_a_step_is_timed_without_the_first_one(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirl.study.dry_run.MEASURE_SECONDS", 0.0)
    before = _contents(study)
    clock = iter([0.0, 100.0, 102.0])  # at the ends of three steps
    monkeypatch.setattr("mirl.study.dry_run.time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert step_seconds(study.params, study.root) == 51  # the median of 100 and 2
    assert _contents(study) == before


def test_steps_that_are_only_queued_are_timed_together(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirl.study.dry_run.MEASURE_SECONDS", 0.0)
    monkeypatch.setitem(READ_EVERY, "cpu", 2)
    clock = iter([0.0, 10.0, 10.0, 30.0, 30.0, 90.0])  # it waits at the end of every second step
    monkeypatch.setattr("mirl.study.dry_run.time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert step_seconds(study.params, study.root) == 20  # the median of 20 and 60, of two steps each
