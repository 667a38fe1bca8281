"""The whole job on a study of seconds, through the same functions that DVC calls."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from mirl.config import Stopped, UserError
from mirl.study.held_out import held_out_images
from mirl.study.params import Params
from mirl.study.round_training import round_settings
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.study.ticket_folder import TicketFolder
from mirl.tickets import reading
from mirl.tickets.container import sha256_of as sha256
from mirl.tickets.routing import ByDifficulty, ByTask, ByWork


def _with(study: Study, **sections: object) -> Study:
    values = yaml.safe_load((study.root / "params.yaml").read_text())
    for name, section in sections.items():
        values[name] |= section
    return Study(root=study.root, params=Params.read(values, "params.yaml"))


def _make(study: Study, *stages: str) -> None:
    for stage in stages:
        name, _, key = stage.partition("@")
        STAGES[name](study, key)


def _ticket(study: Study, name: str) -> TicketFolder:
    return TicketFolder.read(study.files.ticket(name))


def test_photographs_become_a_report_and_a_decision(study: Study) -> None:
    rounds = list(study.params.rounds)
    _make(
        study,
        "prepare",
        "init",
        *(f"round@{name}" for name in rounds),
        *(f"evaluate@{name}" for name in rounds),
    )
    _make(study, "compare")
    table = pd.read_parquet(study.files.report / "comparison.parquet").set_index("name")
    assert list(table.index) == rounds
    assert table["density/prunable"].round(2).to_dict() == {
        "dense": 1.0, "global-r1": 0.5, "global-r2": 0.25, "layers-r1": 0.5, "random-r2": 0.25, "reinit-r2": 0.25,
        "oneshot-r2": 0.25, "longer-r1": 1.0, "routed-r1": 1.0, "routed-r2": 1.0,
        "png-15-r1": 1.0, "png-15-r2": 0.3, "png-rain-r1": 1.0, "png-rain-r2": 0.51,
    }  # fmt: skip
    decision = json.loads((study.files.report / "decision.json").read_text())
    assert decision["reasons"] and (decision["ticket"] is None or decision["ticket"] in rounds)
    assert "<svg" in (study.files.report / "index.html").read_text()
    kept = {name: _ticket(study, name).ticket.mask.kept for name in rounds}
    assert kept["global-r2"] == kept["random-r2"] == kept["reinit-r2"]
    for name in rounds:
        frame = pd.read_parquet(study.files.scores(name) / "scores.parquet")
        of_png = {"denoise_15", "derain"} if "rain" in name else {"denoise_15"}
        served = of_png if name.startswith("png") else set(study.params.data.table)
        assert set(frame["task"]) == served
        assert set(frame["protocol"]) == {"paper", "strict"}
        assert ("work" in frame) == (name == "routed-r2")
    frame = pd.read_parquet(study.files.scores("routed-r2") / "scores.parquet")
    measured = json.loads((study.files.scores("routed-r2") / "metrics.json").read_text())["work/share"]
    decisive = frame[frame["protocol"] == "paper"]
    assert measured == pytest.approx(decisive.groupby("task")["work"].mean().mean())
    assert 0.3 < measured < 1.1
    assert table["macs_g/denoise_15"].notna().sum() == 4 and table["macs_g/derain"].notna().sum() == 2


@pytest.mark.parametrize("name", ["routed-r1", "routed-r2"])
def test_sub_networks_and_a_router_that_are_stopped_go_on_to_the_same_ticket(study: Study, name: str) -> None:
    before = ["routed-r1"] * (name == "routed-r2")
    _make(study, "prepare", "init", "round@dense", *(f"round@{each}" for each in before))
    asked = iter([False, True])
    stopping = Study(root=study.root, params=study.params, should_stop=lambda: next(asked))
    with pytest.raises(Stopped):
        _make(stopping, f"round@{name}")
    _make(study, f"round@{name}")
    stopped = sha256(study.files.ticket(name) / "ticket.safetensors")
    shutil.rmtree(study.files.ticket(name))
    shutil.rmtree(study.root / ".mirl")
    _make(study, f"round@{name}")
    assert sha256(study.files.ticket(name) / "ticket.safetensors") == stopped


def test_the_router_learns_and_nothing_else_moves(study: Study) -> None:
    _make(study, "prepare", "init", "round@dense", "round@routed-r1", "round@routed-r2")
    levels, routed = _ticket(study, "routed-r1").ticket, _ticket(study, "routed-r2").ticket
    assert (
        list(levels.masks) == list(routed.masks) == ["easy", "medium", "hard"]
        and levels.masks == routed.masks
    )
    assert all(torch.equal(routed.state[name], tensor) for name, tensor in levels.state.items())
    origin = _ticket(study, "routed-r2").parent.origin
    moved = [
        name
        for name in routed.state
        if name.startswith("router.") and not torch.equal(routed.state[name], origin[name])
    ]
    assert moved and routed.network.router is not None and levels.network.router is None
    assert isinstance(levels.routing, ByWork) and isinstance(routed.routing, ByDifficulty)


def test_with_no_steps_a_ticket_is_its_mask_times_the_origin_for_every_parameter(study: Study) -> None:
    study = _with(study, train={"steps": 0})
    _make(study, "prepare", "init", "round@dense", "round@global-r1", "round@global-r2", "round@reinit-r2")
    for name in ("global-r1", "global-r2", "reinit-r2"):
        folder = _ticket(study, name)
        expected = folder.ticket.mask.apply(folder.parent.origin)
        assert folder.ticket.state.keys() == expected.keys()
        for parameter, value in expected.items():
            assert torch.equal(folder.ticket.state[parameter], value), parameter
    dense, first, fresh = (_ticket(study, name).parent.origin for name in ("dense", "global-r1", "reinit-r2"))
    assert all(torch.equal(first[name], dense[name]) for name in dense)
    assert not torch.equal(fresh["head.weight"], dense["head.weight"])


def test_a_late_origin_is_the_dense_state_at_that_step(study: Study) -> None:
    study = _with(study, train={"rewind_step": 2})
    _make(study, "prepare", "init", "round@dense", "round@global-r1")
    init, dense, first = (_ticket(study, name) for name in ("init", "dense", "global-r1"))
    assert dense.parent.origin_step == first.parent.origin_step == 2
    assert not torch.equal(dense.parent.origin["head.weight"], init.parent.origin["head.weight"])
    assert first.ticket.lineage.steps == 4


def test_the_same_study_twice_makes_the_same_bytes(
    study: Study, make_study: Callable[[Path], Study], tmp_path_factory: pytest.TempPathFactory
) -> None:
    again = make_study(tmp_path_factory.mktemp("again"))
    for each in (study, again):
        _make(each, "prepare", "init", "round@dense", "round@global-r1")
    for name in ("prepared/manifest.parquet", "prepared/pixels.arrow"):
        assert sha256(study.root / "data" / name) == sha256(again.root / "data" / name)
    for name in ("init", "dense", "global-r1"):
        for file in ("ticket", "origin"):
            ours, theirs = (each.files.ticket(name) / f"{file}.safetensors" for each in (study, again))
            assert sha256(ours) == sha256(theirs)


def test_a_round_that_is_stopped_leaves_nothing_and_goes_on_to_the_same_ticket(study: Study) -> None:
    _make(study, "prepare", "init", "round@dense")
    calm = sha256(study.files.ticket("dense") / "ticket.safetensors")
    asked = iter([False, False, True])
    stopping = Study(root=study.root, params=study.params, should_stop=lambda: next(asked))
    ticket = study.files.ticket("dense")
    (ticket / "ticket.safetensors").unlink()
    shutil.rmtree(study.root / ".mirl" / "resume")
    with pytest.raises(Stopped, match="dense: stopped after step 3 of 6"):
        _make(stopping, "round@dense")
    assert not (ticket / "ticket.safetensors").exists()
    _make(study, "round@dense")
    assert sha256(ticket / "ticket.safetensors") == calm
    assert list((study.root / ".mirl" / "resume").glob("*/checkpoint*"))
    _make(study, "evaluate@dense")  # DVC has recorded the ticket by then
    assert not list((study.root / ".mirl" / "resume").glob("*/checkpoint*"))


def test_a_round_is_named_by_its_arm_and_its_training_alone(study: Study) -> None:
    base = round_settings(study.params, "global-r1")
    other_arm = _with(study, arms={"layers": {"method": "imp", "schedule": "authors", "fraction": 0.3}})
    own_arm = _with(study, arms={"global": {"method": "imp", "schedule": "authors", "fraction": 0.3}})
    assert round_settings(other_arm.params, "global-r1") == base
    assert round_settings(own_arm.params, "global-r1") != base


def test_a_dense_round_for_one_task_trains_and_serves_that_alone(study: Study) -> None:
    rounds = {
        "single": {"arm": "dense", "after": "init", "task": "derain"},
        "weather": {"arm": "dense", "after": "init", "tasks": ["derain", "dehaze"]},
    }
    before = round_settings(study.params, "dense")
    study = _with(study, rounds=rounds, promote={"reference": {"derain": "single"}})
    assert round_settings(study.params, "dense") == before
    assert round_settings(study.params, "single") == before | {"tasks": ["derain"]}
    _make(study, "prepare", "init", "round@dense", "round@single", "round@weather", "evaluate@weather")
    joint, single, weather = (_ticket(study, name).ticket for name in ("dense", "single", "weather"))
    assert isinstance(single.routing, ByTask) and single.routing.tasks == {"derain": "derain"}
    assert isinstance(weather.routing, ByTask)
    assert weather.routing.tasks == dict.fromkeys(("derain", "dehaze"), "derain-dehaze")
    assert list(weather.masks) == ["derain-dehaze"]
    assert not torch.equal(joint.state["head.weight"], single.state["head.weight"])
    frame = pd.read_parquet(study.files.scores("weather") / "scores.parquet")
    assert set(frame["task"]) == {"derain", "dehaze"}


def test_held_out_images_come_by_task_with_their_partners(study: Study) -> None:
    _make(study, "prepare")
    images = list(held_out_images(study.root))
    assert [image.task.name for image in images] == [
        task for task in ("denoise_15", "denoise_25", "denoise_50", "derain", "dehaze") for _ in range(2)
    ]
    assert all((image.degraded_HWC is None) == image.task.name.startswith("denoise") for image in images)


def test_a_memory_that_holds_no_test_photograph_is_said_in_words(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB\nand more")

    _make(study, "prepare", "init", "round@dense")
    monkeypatch.setattr("mirl.study.scores.score", full)
    with pytest.raises(UserError, match=r"the memory of cpu .*\(tried to allocate 20 GiB\); .*device: cpu"):
        _make(study, "evaluate@dense")
    assert not study.files.scores("dense").exists()


def test_what_a_ticket_has_cost_lies_beside_it(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirl.training.meter.counter", lambda device: None)
    _make(study, "prepare", "init", "round@dense", "round@global-r1")
    dense, first = (
        json.loads((study.files.ticket(name) / "metrics.json").read_text()) for name in ("dense", "global-r1")
    )
    assert dense["steps"] == 6 and dense["samples"] == 30
    at_patch = dense["macs_dense_g"] * 1e9 * (16 / 256) ** 2  # a network of convolutions alone
    assert dense["train_flops_dense"] == pytest.approx(6 * 30 * at_patch, rel=0.01)
    assert dense["train_flops"] == dense["train_flops_dense"] == first["train_flops_dense"]
    assert 0 < first["train_flops"] < dense["train_flops"]
    assert dense["train_seconds"] > 0 and "train_joules" not in dense
    words = json.loads((study.files.ticket("dense") / "machine.json").read_text())
    assert words.keys() == {"device"} and words["device"].startswith("1 thread of ")
    monkeypatch.setattr("mirl.training.meter.counter", lambda device: ("x", iter([1.0, 3.5]).__next__))
    monkeypatch.setattr("mirl.study.training_cost.counter", lambda device: ("what is counted", lambda: 0.0))
    _make(study, "round@layers-r1")
    told = study.files.ticket("layers-r1")
    assert json.loads((told / "metrics.json").read_text())["train_joules"] == 2.5
    assert json.loads((told / "machine.json").read_text())["energy"] == "what is counted"


def test_how_long_weights_were_trained_is_known_whatever_went_back(study: Study) -> None:
    """Six steps a training, weights back to the second; or only the learning rate."""
    arms = {
        "rewound": {"method": "imp", "schedule": "authors"},
        "going-on": {"method": "imp", "schedule": "authors", "rewind": "learning_rate"},
    }
    rounds: dict[str, Any] = {}
    for arm in arms:
        rounds |= {
            f"{arm}-r1": {"arm": arm, "after": "dense"},
            f"{arm}-r2": {"arm": arm, "after": f"{arm}-r1"},
        }
    study = _with(study, arms=arms, rounds=rounds, train={"rewind_step": 2})
    _make(study, "prepare", "init", "round@dense", *(f"round@{name}" for name in rounds))
    steps = {name: _ticket(study, name).metrics["weight_steps"] for name in ("dense", *rounds)}
    assert steps == {"dense": 6, "rewound-r1": 6, "rewound-r2": 6, "going-on-r1": 10, "going-on-r2": 14}
    parent = study.files.ticket("going-on-r1") / "metrics.json"
    parent.write_text("{}")  # of an older mirl
    shutil.rmtree(study.files.ticket("going-on-r2"))
    _make(study, "round@going-on-r2")
    assert "weight_steps" not in _ticket(study, "going-on-r2").metrics


def test_an_unknown_round_and_a_missing_parent_are_said_in_words(study: Study) -> None:
    with pytest.raises(UserError, match="no round 'dens'"):
        _make(study, "round@dens")
    with pytest.raises(UserError, match="tickets/init"):
        _make(study, "round@dense")


def test_a_damaged_parent_stops_the_round_before_it_trains(study: Study) -> None:
    _make(study, "prepare", "init")
    path = study.files.ticket("init") / "ticket.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"ticket\.safetensors"):
        _make(study, "round@dense")
    assert not study.files.ticket("dense").exists()


def test_a_study_whose_loss_explodes_says_so(study: Study) -> None:
    study = _with(study, train={"learning_rate": 1e30, "clip_norm": 1e30})
    _make(study, "prepare", "init")
    with pytest.raises(
        UserError, match=r"dense: step \d+: the loss is .* expected finite numbers; the batch was"
    ):
        _make(study, "round@dense")
    assert not study.files.ticket("dense").exists()


def test_tickets_carry_their_lineage(study: Study) -> None:
    _make(study, "prepare", "init", "round@dense", "round@global-r1")
    dense, first = (
        reading.read(study.files.ticket(name) / "ticket.safetensors") for name in ("dense", "global-r1")
    )
    assert (first.lineage.name, first.lineage.arm, first.lineage.method, first.lineage.round) == (
        "global-r1", "global", "imp", 2,
    )  # fmt: skip
    assert first.lineage.parent == sha256(Path(study.files.ticket("dense") / "ticket.safetensors"))
    assert first.lineage.data == dense.lineage.data != ""
