"""How long a ticket's weights were trained follows from lineages, which nobody can change without breaking a seal."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mirl.evaluation.comparison import assess
from mirl.evaluation.winning import RuleSection
from mirl.study.candidates import read_candidates
from mirl.study.lineages import weight_steps
from mirl.study.params import Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.study.workspace import read_json, write_json
from mirl.tickets import reading
from mirl.tickets.lineage import Lineage
from mirl.tickets.routing import ByTask
from mirl.tickets.writing import write
from tests.study.conftest import VALUES, write_study

DENSE = {"method": "dense"}
SHORT = {"method": "imp", "fraction": 0.5, "rewind": "learning_rate"}
AUTHORS = {"method": "imp", "fraction": 0.5}
AUTHORED = {"method": "random"}


def made(name: str, parent: str, round_: int, arm: dict[str, Any], **more: Any) -> Lineage:
    values: dict[str, Any] = {"steps": 100, "origin_step": 10, "settings": {"train": {}, "arm": arm}} | more
    return Lineage(
        name=name, arm="arm", method=arm.get("method", "gone"), round=round_, parent=parent, fingerprint="f" * 64, seed=0,
        data="", **values,
    )  # fmt: skip


def digest(number: int) -> str:
    return f"{number:064x}"


def test_weights_that_go_on_have_their_parents_steps_others_those_of_the_origin() -> None:
    found = weight_steps(
        {
            digest(1): made("dense", digest(9), 1, DENSE),
            digest(2): made("short-r1", digest(1), 2, SHORT, steps=90),
            digest(3): made("short-r2", digest(2), 3, SHORT, steps=80),
            digest(4): made("authors-r1", digest(1), 2, AUTHORS, steps=90),
            digest(5): made("random", digest(3), 4, AUTHORED, steps=90),
            digest(6): made("longer", digest(5), 5, {"method": "replay"}, steps=90),
            digest(7): made("cut-at-once", digest(9), 1, SHORT, origin_step=0),
        }
    )
    assert list(found.values()) == [100, 190, 270, 100, 100, 190, 100]


@pytest.mark.parametrize(
    ("arm", "steps"),
    [
        (SHORT, None),  # its parent is not there
        (AUTHORS, 110),  # which does not matter to weights that were rewound
        ({"method": "magic"}, None),
        (SHORT | {"target": "half"}, None),
        ({}, None),
        ("short", None),
    ],
)
def test_what_cannot_be_known_is_none(arm: Any, steps: int | None) -> None:
    lineage = made("r2", digest(1), 2, SHORT)
    lineage = lineage.model_copy(update={"settings": {"arm": arm}})
    below = made("r3", digest(2), 3, SHORT)
    found = weight_steps({digest(2): lineage, digest(3): below})
    assert found == {digest(2): steps, digest(3): None if steps is None else steps + 100}
    assert weight_steps({digest(2): lineage.model_copy(update={"settings": {}})}) == {digest(2): None}


ARMS = {
    "short": {"method": "imp", "target": 0.2},
    "replayed": {"method": "imp", "schedule": "authors", "fraction": 0.5, "rewind": "learning_rate"},
    "settled": {
        "method": "imp", "schedule": "authors", "target": 0.1, "settled": {"every_steps": 1, "looks": 1, "distance": 0.9},
    },
}  # fmt: skip
ROUNDS = [
    ("dense", "dense", "init"), ("longer-r1", "longer", "dense"), ("longer-r2", "longer", "longer-r1"),
    ("replayed-r1", "replayed", "dense"), ("short-r1", "short", "dense"), ("short-r2", "short", "short-r1"),
    ("settled-r1", "settled", "dense"), ("random-r2", "random", "short-r2"), ("reinit-r2", "reinit", "short-r2"),
    ("reinit-longer", "longer", "reinit-r2"), ("oneshot-r1", "oneshot", "dense"),
]  # fmt: skip


def test_the_lineages_of_a_study_say_what_its_metrics_say_and_the_gate_asks_them(tmp_path: Path) -> None:
    """Every method, a late origin, short and settled rounds, and a control of a control."""
    study, values = write_study(tmp_path), copy.deepcopy(VALUES)
    values["train"] |= {"rewind_step": 2, "steps": 8}
    values["evaluate"] = {"limit": 1, "pictures": 0}
    values["arms"] |= ARMS
    values["rounds"] = {name: {"arm": arm, "after": after} for name, arm, after in ROUNDS}
    study = Study(root=study.root, params=Params.read(values, "params.yaml"))
    for stage, keys in (("prepare", [""]), ("init", [""]), ("round", study.params.rounds)):
        for key in keys:
            STAGES[stage](study, key)
    files = study.files
    told = {
        name: read_json(files.ticket(name) / "metrics.json")["weight_steps"] for name in study.params.rounds
    }
    tickets = [reading.read(files.ticket(name) / "ticket.safetensors") for name in study.params.rounds]
    assert weight_steps({t.sha256: t.lineage for t in tickets}) == {
        t.sha256: told[t.lineage.name] for t in tickets
    }

    few = {name: study.params.rounds[name] for name in ("dense", "longer-r1", "replayed-r1")}
    for name in few:
        STAGES["evaluate"](study, name)
        write_json(
            files.ticket(name) / "metrics.json", {"density/prunable": 0.5 + 0.5 * (name != "replayed-r1")}
        )
    found = read_candidates(files, study.params.model_copy(update={"rounds": few}))
    assert [candidate.weight_steps for candidate in found] == [8, 14, 14]
    assert "longer-r1" in assess(found, study.params.promote)[2].controls

    told_its_task = replace(
        tickets[3], routing=ByTask(kind="task", tasks={"derain": next(iter(tickets[3].masks))})
    )
    write(told_its_task, files.ticket("replayed-r1") / "ticket.safetensors")
    found = read_candidates(files, study.params.model_copy(update={"rounds": few}))
    assert [candidate.told for candidate in found] == [False, False, True]
    write_json(files.scores("dense") / "metrics.json", {"work/share": 0.7, "psnr_db/mean": 1.0})
    dense = read_candidates(files, study.params.model_copy(update={"rounds": few}))[0]
    assert dense.cost(RuleSection(cost="work")) == 0.7 and "psnr_db/mean" not in dense.metrics
