"""The ways to train nested sub-networks, from photographs to tickets."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mirl.config import Stopped
from mirl.restore.restorer import Restorer
from mirl.study.forecast import forecast
from mirl.study.params import Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.tickets import reading
from mirl.tickets.container import sha256_of
from mirl.tickets.ticket import Ticket
from tests.study.conftest import VALUES

STRUCTURE = {"kind": "n_of_m", "m": 4, "indivisible": "keep"}
ARM = {"method": "class_pruning", "structure": STRUCTURE, "router": {"channels": 2, "patch": 16}}
ARMS = {
    "dense": {"method": "dense"},
    "anew": ARM | {"masks": "sr_ste", "decay": 0.1, "hold_moments": 0.5},
    "first": ARM | {"training": "smallest_first"},
}
ROUNDS = {
    "dense": {"arm": "dense", "after": "init"},
    "anew-r1": {"arm": "anew", "after": "dense"},
    "first-r1": {"arm": "first", "after": "dense"},
    "first-r2": {"arm": "first", "after": "first-r1"},
    "first-r3": {"arm": "first", "after": "first-r2"},
}


@pytest.fixture(scope="module")
def made(make_study: Callable[[Path], Study], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study with these arms, whose weights move far enough in six steps, and all of its tickets."""
    study = make_study(tmp_path_factory.mktemp("ways"))
    values = VALUES | {"arms": ARMS, "rounds": ROUNDS, "train": VALUES["train"] | {"learning_rate": 0.02}}
    (study.root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    study = Study(root=study.root, params=Params.read(values, "params.yaml"))
    for stage, key in (("prepare", ""), ("init", ""), *(("round", name) for name in ROUNDS)):
        STAGES[stage](study, key)
    return study


def ticket(study: Study, name: str) -> Ticket:
    return reading.read(study.files.ticket(name) / "ticket.safetensors")


def test_what_they_cost_is_foretold(made: Study) -> None:
    foretold = forecast(made.params)
    for each in foretold:
        found = json.loads((made.files.ticket(each.name) / "metrics.json").read_text())
        assert (each.steps, each.samples) == (found["steps"], found["samples"]), each.name
        assert each.flops.dense == pytest.approx(found["train_flops_dense"]), each.name
        assert each.density == pytest.approx(found["density/prunable"], abs=0.01), each.name
    flops = {each.name: each.flops.dense for each in foretold}
    assert flops["anew-r1"] == sum(flops[f"first-r{number}"] for number in (1, 2, 3)) == 3 * flops["dense"]


def test_masks_that_are_made_anew_are_those_of_the_trained_weights(made: Study) -> None:
    before, after = ticket(made, "dense"), ticket(made, "anew-r1")
    layer = "middle.0.feed_in.weight"
    for mask, n in (("easy", 1), ("medium", 2)):
        weight = after.state[layer].flatten(1)
        best = weight.abs().view(len(weight), -1, 4).sort(dim=-1, descending=True, stable=True).indices
        expected = (
            torch.zeros_like(best, dtype=torch.bool).scatter_(-1, best[..., :n], True).view(weight.shape)
        )
        assert torch.equal(after.masks[mask][layer].flatten(1), expected)
    cut_from_dense = ticket(made, "first-r1").masks["easy"]
    assert after.masks["easy"] != cut_from_dense
    assert after.masks.nested and after.mask == before.mask


def test_smaller_sub_networks_restore_the_same_bits_after_every_later_round(made: Study) -> None:
    image_HWC = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    levels, outputs = ["easy", "medium", "hard"], dict[str, np.ndarray]()
    for number in range(1, 4):
        found = ticket(made, f"first-r{number}")
        for level in levels[:number]:
            alone = replace(found, **vars(found.alone(level)))
            output_HWC = Restorer(alone, threads=1)(image_HWC)
            assert np.array_equal(outputs.setdefault(level, output_HWC), output_HWC), (number, level)
    assert len({output.tobytes() for output in outputs.values()}) == 3


@pytest.mark.parametrize("name", ["anew-r1", "first-r2"])
def test_a_round_that_is_stopped_goes_on_to_the_same_ticket(made: Study, tmp_path: Path, name: str) -> None:
    calm = sha256_of(made.files.ticket(name) / "ticket.safetensors")
    for folder in ("data", "photographs"):
        (tmp_path / folder).symlink_to(made.root / folder)
    study = Study(root=tmp_path, params=made.params)
    after = made.params.rounds[name].after
    shutil.copytree(made.files.ticket(after), study.files.ticket(after))
    asked = iter([False] * 3 + [True])
    with pytest.raises(Stopped, match="after step 4 of 6"):
        STAGES["round"](replace(study, should_stop=lambda: next(asked)), name)
    STAGES["round"](study, name)
    assert sha256_of(study.files.ticket(name) / "ticket.safetensors") == calm
