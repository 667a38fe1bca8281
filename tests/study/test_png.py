"""PnG from photographs to tickets: what was served before stays what it was, to the last bit."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mirl.config import Stopped, UserError
from mirl.restore.restorer import Restorer
from mirl.study.forecast import forecast
from mirl.study.params import Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.tickets import reading
from mirl.tickets.container import sha256_of
from mirl.tickets.ticket import Ticket

ARM = {"method": "png", "goal": 0.3, "structure": {"kind": "blocks", "outputs": 2, "inputs": 2, "least": 1}}
TASKS = {"denoise_15": "a", "denoise_25": "b", "derain": "c"}
ROUNDS = ["a-r1", "a-r2", "b-r1", "b-r2", "c-r1", "c-r2"]


@pytest.fixture
def chain(study: Study) -> Study:
    """Two rounds for each of three requirements."""
    rounds = {"dense": {"arm": "dense", "after": "init"}}
    after = "init"
    for task, name in TASKS.items():
        for half in ("r1", "r2"):
            rounds[f"{name}-{half}"] = {"arm": "png", "after": after, "task": task}
            after = f"{name}-{half}"
    return changed(study, arms={"dense": {"method": "dense"}, "png": ARM}, rounds=rounds)


def changed(study: Study, **sections: object) -> Study:
    values = yaml.safe_load((study.root / "params.yaml").read_text()) | sections
    (study.root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return Study(root=study.root, params=Params.read(values, "params.yaml"))


def picking(chain: Study, pick: str) -> Study:
    """The chain with such picks, and scores that move far enough in six steps."""
    return changed(chain, arms={"dense": {"method": "dense"}, "png": ARM | {"pick": pick, "pick_rate": 10}})


def make(study: Study, *rounds: str) -> None:
    for stage, key in (("prepare", ""), ("init", ""), *(("round", name) for name in rounds)):
        if not (stage == "prepare" and study.files.prepared.exists()):
            STAGES[stage](study, key)


def ticket(study: Study, name: str) -> Ticket:
    return reading.read(file(study, name))


def file(study: Study, name: str) -> Path:
    return study.files.ticket(name) / "ticket.safetensors"


@pytest.mark.parametrize("pick", ["all", "learned"])
@pytest.mark.parametrize("skip_zeros", [True, False], ids=["kernels", "torch"])
def test_every_earlier_requirement_restores_the_same_bits_after_every_later_round(
    chain: Study, skip_zeros: bool, pick: str
) -> None:
    chain = picking(chain, pick)
    make(chain, *ROUNDS)
    image_HWC = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)

    def restored(name: str, task: str) -> np.ndarray:
        restorer = Restorer(ticket(chain, name), threads=1, skip_zeros=skip_zeros)
        return restorer(image_HWC, task=task)

    outputs = []
    for task, name in TASKS.items():
        pruned = f"{name}-r2"
        first = restored(pruned, task)
        outputs.append(first)
        for later in ROUNDS[ROUNDS.index(pruned) + 1 :]:
            assert np.array_equal(restored(later, task), first), (task, later)
            before, after = (ticket(chain, each).alone(task) for each in (pruned, later))
            for layer, tensor in before.state.items():
                assert tensor.numpy().tobytes() == after.state[layer].numpy().tobytes(), (layer, later)
    assert not any(np.array_equal(one, other) for one, other in pairwise(outputs))
    last = ticket(chain, "c-r2")
    assert list(last.masks) == list(TASKS) and last.masks.nested == (pick == "all")
    assert last.network == ticket(chain, "a-r1").network
    assert last.lineage.settings["tasks"] == ["derain"]


@pytest.mark.parametrize(("name", "pick"), [("b-r1", "all"), ("b-r2", "all"), ("b-r1", "learned")])
def test_a_round_that_is_stopped_goes_on_to_the_same_bytes(chain: Study, name: str, pick: str) -> None:
    chain = picking(chain, pick)
    make(chain, *ROUNDS[: ROUNDS.index(name) + 1])
    calm = sha256_of(file(chain, name))
    shutil.rmtree(chain.files.ticket(name))
    shutil.rmtree(chain.root / ".mirl")
    asked = iter([False, False, True])
    stopping = Study(root=chain.root, params=chain.params, should_stop=lambda: next(asked))
    with pytest.raises(Stopped, match="stopped after step 3 of 6"):
        STAGES["round"](stopping, name)
    STAGES["round"](chain, name)
    assert sha256_of(file(chain, name)) == calm


@pytest.mark.parametrize("machine", [{"micro_batch": 2}, {"processes": 5}], ids=str)
def test_processes_and_pieces_of_a_batch_train_the_same_and_freeze_the_same(
    chain: Study, machine: dict[str, int]
) -> None:
    make(chain, "a-r1", "a-r2", "b-r1", "b-r2")
    alone = {name: ticket(chain, name) for name in ("a-r2", "b-r1", "b-r2")}
    again = changed(chain, machine={"threads": 1, **machine})
    for name in ("b-r1", "b-r2"):
        shutil.rmtree(again.root / ".mirl", ignore_errors=True)
        before = file(again, name).read_bytes()
        shutil.rmtree(again.files.ticket(name))
        STAGES["round"](again, name)
        found = ticket(again, name)
        frozen = found.alone("denoise_15").state
        assert all(torch.equal(frozen[n], t) for n, t in alone["a-r2"].alone("denoise_15").state.items())
        assert found.masks == alone[name].masks
        for layer, tensor in alone[name].state.items():
            assert torch.allclose(found.state[layer], tensor, atol=1e-5), layer
        file(again, name).write_bytes(before)  # so that the next round begins where the other did


def test_the_forecast_follows_the_chain_and_names_the_round_that_cannot_be(chain: Study) -> None:
    make(chain, *ROUNDS)
    found = [ticket(chain, name).mask.density for name in ROUNDS]
    for each in (chain, picking(chain, "learned")):
        foretold = {item.name: item.density for item in forecast(each.params)}
        # Small blocks at the edges of layers go or stay by their scores, which training moves.
        assert [foretold[name] for name in ROUNDS] == pytest.approx(found, abs=0.02)
    assert found[1] < found[3] < found[5] < found[0] == 1
    twice = chain.params.rounds | {
        "d-r1": chain.params.rounds["c-r2"].model_copy(update={"after": "c-r2", "task": "denoise_25"})
    }
    with pytest.raises(UserError, match="round d-r1: the requirement denoise_25 comes twice"):
        forecast(chain.params.model_copy(update={"rounds": twice}))
    full = chain.params.rounds | {
        "d-r1": chain.params.rounds["c-r2"].model_copy(update={"after": "c-r1", "task": "dehaze"})
    }
    with pytest.raises(UserError, match="round d-r1: no capacity is left for dehaze"):
        forecast(chain.params.model_copy(update={"rounds": full}))
