"""PnG in a network that is widened on its way, from photographs to tickets."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirl.command import inspect
from mirl.config import Stopped, UserError
from mirl.restore.restorer import Restorer
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.study.forecast import forecast
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.tickets import reading, writing
from mirl.tickets.container import sha256_of
from mirl.tickets.slim import slimmed
from tests.study.test_png import changed, file, make, ticket

ROUNDS = {"a-r1": "denoise_15", "b-r1": "denoise_25", "b-r2": "denoise_25", "c-r1": "derain"}
IMAGE_HWC = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def made(make_study: Callable[[Path], Study], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The first requirement keeps everything, so that the second one needs a wider network."""
    png = {"method": "png", "goal": 0.3, "structure": {"kind": "unstructured"}, "widen": 1.5}
    rounds = {"dense": {"arm": "dense", "after": "init"}}
    for after, (name, task) in zip(["init", *ROUNDS], ROUNDS.items(), strict=False):
        rounds[name] = {"arm": "png", "after": after, "task": task}
    study = make_study(tmp_path_factory.mktemp("widening"))
    study = changed(study, arms={"dense": {"method": "dense"}, "png": png}, rounds=rounds)
    make(study, *ROUNDS)
    return study


@pytest.mark.parametrize("skip_zeros", [True, False], ids=["kernels", "torch"])
def test_what_was_served_in_the_narrow_network_is_restored_to_the_same_bits(
    made: Study, skip_zeros: bool
) -> None:
    widths = [ticket(made, name).network.options["width"] for name in ROUNDS]
    assert widths == [4, 6, 6, 6]

    def restored(name: str, task: str) -> np.ndarray:
        return Restorer(ticket(made, name), threads=1, skip_zeros=skip_zeros)(IMAGE_HWC, task=task)

    first = restored("a-r1", "denoise_15")
    assert all(np.array_equal(restored(name, "denoise_15"), first) for name in ("b-r1", "b-r2", "c-r1"))
    second = restored("b-r2", "denoise_25")
    assert np.array_equal(restored("c-r1", "denoise_25"), second) and not np.array_equal(first, second)


def test_a_round_that_widens_and_is_stopped_goes_on_to_the_same_bytes(made: Study, tmp_path: Path) -> None:
    root = tmp_path / "again"
    shutil.copytree(made.root, root)
    again, calm = Study(root=root, params=made.params), sha256_of(file(made, "b-r1"))
    shutil.rmtree(again.files.ticket("b-r1"))
    shutil.rmtree(root / ".mirl")
    asked = iter([False, False, True])
    with pytest.raises(Stopped, match="stopped after step 3 of 6"):
        STAGES["round"](Study(root=root, params=made.params, should_stop=lambda: next(asked)), "b-r1")
    STAGES["round"](again, "b-r1")
    assert sha256_of(file(again, "b-r1")) == calm


def test_the_forecast_is_of_the_wider_network(made: Study) -> None:
    for each in forecast(made.params):
        if each.name in ROUNDS:
            found = json.loads((made.files.ticket(each.name) / "metrics.json").read_text())
            assert each.steps == found["steps"], each.name
            assert each.density == pytest.approx(found["density/prunable"], abs=0.001), each.name
            assert each.flops.dense == pytest.approx(found["train_flops_dense"]), each.name


def test_it_is_scored_and_slimmed_as_every_ticket(made: Study, tmp_path: Path) -> None:
    said = inspect.text(inspect.look(str(file(made, "b-r2"))))
    wide, narrow = said.partition("network ")[2].splitlines()[0].split("; denoise_15 in ")
    assert '"width": 6' in wide and '"width": 4' in narrow
    STAGES["evaluate"](made, "b-r2")
    assert (made.files.scores("b-r2") / "findings.json").exists()
    whole, path = ticket(made, "c-r1"), tmp_path / "slim.safetensors"
    for task, narrower in (("denoise_15", {"denoise_15"}), ("denoise_25", set())):
        writing.write(slimmed(whole, [task]), path)
        slim = reading.read(path)
        assert slim.network.narrower.keys() == narrower and slim.mask.kept < whole.mask.kept
        one, other = (Restorer(each, threads=1)(IMAGE_HWC, task=task) for each in (slim, whole))
        assert np.array_equal(one, other)


def test_a_ticket_whose_narrower_network_cannot_be_is_refused(made: Study, tmp_path: Path) -> None:
    good, path = ticket(made, "b-r1"), tmp_path / "bad.safetensors"
    assert good.network.spec()["narrower"].keys() == {"denoise_15"}

    def narrower(**named: dict[str, Any]) -> None:
        section = good.network.model_copy(update={"narrower": named})
        writing.write(replace(good, network=section), path)

    own = good.network.narrower["denoise_15"]
    narrower(derain=dict(own))
    with pytest.raises(UserError, match="says that derain is of a narrower network, but has no such mask"):
        reading.read(path)
    narrower(denoise_15=own | {"width": 9})
    with pytest.raises(UserError, match="has no corner of"):
        reading.read(path)
    narrower(denoise_15=own | {"width": 3})
    with pytest.raises(
        UserError, match="keeps weights of .* for denoise_15, whose narrower network does not"
    ):
        reading.read(path)
    everything = Mask.full(good.mask)
    writing.write(replace(good, masks=Masks(dict.fromkeys(good.masks, everything))), path)
    with pytest.raises(UserError, match="keeps weights of .* for denoise_15"):
        reading.read(path)
