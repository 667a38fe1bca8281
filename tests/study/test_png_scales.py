"""The study of zooms, on photographs of seconds: one body, a head for each zoom, and what was there stays as it was."""

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from mirl.command.main import main
from mirl.config import Stopped, UserError
from mirl.data.bicubic import cut_to_multiple, reduced
from mirl.networks import scale_of
from mirl.restore.photograph import MEMORY
from mirl.restore.restorer import Restorer
from mirl.serve.messages import Heartbeat, Restored, RestoreRequest, WorkerOptions
from mirl.serve.refusal import Refusal
from mirl.serve.restoring import answer
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.study.forecast import forecast
from mirl.study.params import Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.tickets import reading, writing
from mirl.tickets.container import sha256_of
from mirl.tickets.ticket import Ticket
from tests.study.conftest import photograph

FILE = Path(__file__).parents[2] / "studies/png.yaml"
SCALES = (2, 3, 4)
CHAIN = ["png-x2", "png-x3-r1", "png-x3-r2", "png-x4-r1", "png-x4-r2"]


def short(values: dict[str, Any], root: Path) -> dict[str, Any]:
    """The study with made-up photographs below `root`, a tiny network and a few steps."""
    below = root / values["data"]["root"]
    for place in ("BSDS500/train", "BSDS500/test"):
        (below / place).mkdir(parents=True)
        Image.fromarray(large(len(place))).save(below / place / "a.png")
    tests = [source for source in values["data"]["sources"].values() if source["kind"] == "pairs"]
    for number, source in enumerate(tests):
        scale = int(source["input"][-1])
        inputs, targets = below / source["input"], below / source["target"]
        for place in (inputs, targets):
            place.mkdir(parents=True, exist_ok=True)
        clean = large(30 + number // 3)
        Image.fromarray(clean).save(targets / "b.png")
        Image.fromarray(reduced(cut_to_multiple(clean, scale), scale)).save(inputs / f"bx{scale}.png")
    values["network"]["options"] |= {"width": 8, "blocks": 1}
    values["train"] |= {"steps": 9, "warmup_steps": 1, "batches": {"batch": 4, "patch": 12}}
    values["machine"] = {"threads": 1, "device": "cpu"}
    return values


def large(seed: int) -> np.ndarray:
    """80 x 96 pixels."""
    return photograph(seed).repeat(2, axis=0).repeat(2, axis=1)


def opened(root: Path, **sections: Any) -> Study:
    values = yaml.safe_load((root / "params.yaml").read_text()) | sections
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return Study(root=root, params=Params.read(values, "params.yaml"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study with all its tickets."""
    root = tmp_path_factory.mktemp("zooms")
    (root / "params.yaml").write_bytes(FILE.read_bytes())
    study = opened(root, **short(yaml.safe_load(FILE.read_text()), root))
    for stage, key in (("prepare", ""), ("init", ""), *(("round", name) for name in study.params.rounds)):
        STAGES[stage](study, key)
    return study


@pytest.fixture
def copy(made: Study, tmp_path: Path) -> Study:
    """A copy, which a test may change."""
    shutil.copytree(made.root, tmp_path / "copy")
    return opened(tmp_path / "copy")


def file(study: Study, name: str) -> Path:
    return study.files.ticket(name) / "ticket.safetensors"


def ticket(study: Study, name: str) -> Ticket:
    return reading.read(file(study, name))


@pytest.mark.parametrize("skip_zeros", [True, False], ids=["kernels", "torch"])
def test_every_zoom_restores_the_same_bits_after_every_later_round(made: Study, skip_zeros: bool) -> None:
    image_HWC = large(3)[:30, :35]

    def restored(name: str, task: str) -> np.ndarray:
        return Restorer(ticket(made, name), threads=1, skip_zeros=skip_zeros)(image_HWC, task=task)

    for place, (task, name) in enumerate([("x2", "png-x2"), ("x3", "png-x3-r2"), ("x4_set5", "png-x4-r2")]):
        scale = place + 2
        first = restored(name, task)
        assert first.shape == (30 * scale, 35 * scale, 3)
        for later in CHAIN[CHAIN.index(name) + 1 :]:
            assert np.array_equal(restored(later, task), first), (task, later)
    assert list(ticket(made, CHAIN[-1]).heads.values()) == list(SCALES)


def test_only_the_head_of_a_zoom_is_stored_and_computed_for_it(made: Study) -> None:
    single, last = ticket(made, "single-x4"), ticket(made, "png-x4-r2")
    assert set(single.heads.values()) == {4} and single.alone(*single.masks).network.scales == ()
    spent = {name: json.loads((made.files.ticket(name) / "metrics.json").read_text()) for name in
             ("single-x2", "single-x3", "single-x4", "joint", "png-x4-r2")}  # fmt: skip
    body = 3 * 8 * 9 + 3 * 8 * 8 * 9
    heads = {2: 8 * 32 * 9 + 4 * 8 * 27, 3: 8 * 72 * 9 + 9 * 8 * 27, 4: 5 * 8 * 32 * 9 + 16 * 8 * 27}
    for scale in SCALES:
        flops = spent[f"single-x{scale}"]["train_flops"]
        assert flops == pytest.approx(9 * 4 * 12 * 12 * 6 * (body + heads[scale]))
        assert spent[f"single-x{scale}"]["macs_g"] == pytest.approx(256**2 * (body + heads[scale]) / 1e9)
    mean = sum(spent[f"single-x{scale}"]["train_flops"] for scale in SCALES) / 3
    assert spent["joint"]["train_flops"] == pytest.approx(mean)
    assert spent["png-x4-r2"]["macs_g"] < 0.6 * spent["single-x4"]["macs_g"]
    assert (
        len(last.masks) == 3 and file(made, "png-x4-r2").stat().st_size < file(made, "joint").stat().st_size
    )


@pytest.mark.filterwarnings(
    "ignore:constrained_layout not applied"
)  # nothing is learned, and curves lie apart
def test_it_is_measured_compared_and_foretold(made: Study) -> None:
    for name in made.params.rounds:
        STAGES["evaluate"](made, name)
    STAGES["compare"](made, "")
    table = pd.read_parquet(made.files.report / "comparison.parquet").set_index("name")
    assert list(table.index) == list(made.params.rounds)
    scores = pd.read_parquet(made.files.scores("png-x4-r2") / "scores.parquet")
    assert set(scores["task"]) == set(made.params.data.tasks) and scores["psnr_db"].gt(15).all()
    of_first = pd.read_parquet(made.files.scores("png-x2") / "scores.parquet")
    assert set(of_first["task"]) == {"x2", "x2_set5", "x2_set14"}
    findings = json.loads((made.files.scores("joint") / "findings.json").read_text())
    assert not [each for each in findings if each["kind"] in {"layer gone", "path cut"}]
    foretold = {item.name: item.density for item in forecast(made.params)}
    for name, density in foretold.items():
        assert ticket(made, name).mask.density == pytest.approx(density, abs=0.02), name


def test_a_picture_is_enlarged_by_what_is_asked_for(
    made: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, small = str(file(made, "png-x4-r2")), str(tmp_path / "small.safetensors")
    Image.fromarray(large(3)[:20, :24]).save(tmp_path / "in.png")

    def size(ticket: str, task: str) -> tuple[int, int]:
        out = tmp_path / "out.png"
        command = ["restore", str(tmp_path / "in.png"), "-o", str(out), "--ticket", ticket, "--task", task]
        assert main([*command, "--force"]) == 0
        with Image.open(out) as found:
            return found.size

    assert [size(whole, f"x{scale}") for scale in SCALES] == [(48, 40), (72, 60), (96, 80)]
    assert main(["restore", str(tmp_path / "in.png"), "-o", "-", "--ticket", whole, "--task", "x5"]) == 2
    assert "its tasks are x2, x2_set14, x2_set5, x3" in capsys.readouterr().err
    assert main(["slim", whole, "--tasks", "x3", "-o", small]) == 0
    cut = reading.read(small)
    assert cut.network.scales == () and cut.network.options["scales"] == [3]
    assert not [name for name in cut.state if ".x2." in name or ".x4." in name]
    assert size(small, "x3") == (72, 60)
    image_HWC = large(3)
    before, after = (Restorer(each)(image_HWC, task="x3") for each in (reading.read(whole), cut))
    assert np.array_equal(before, after)
    two = str(tmp_path / "two.safetensors")
    assert main(["slim", whole, "--tasks", "x4", "x2", "-o", two]) == 0
    assert reading.read(two).network.scales == (2, 4) and size(two, "x4") == (96, 80)
    out = tmp_path / "x3.pt2"
    assert main(["export", whole, "--task", "x3", "-o", str(out)]) == 0
    capsys.readouterr()
    assert main(["inspect", whole]) == 0
    shown = capsys.readouterr().out
    assert [shown.count(f"enlarges by {scale}") for scale in SCALES] == [1, 1, 1]


def test_in_tiles_it_is_the_same_enlargement(made: Study) -> None:
    model, image_HWC = ticket(made, "png-x4-r2"), np.tile(large(5), (2, 2, 1))
    whole = Restorer(model, threads=1, skip_zeros=False)
    memory = whole.memory_for(96 * 96, image_HWC.shape[:2], 1, 3)
    assert memory < whole.memory_for(96 * 96, image_HWC.shape[:2], 1)
    tiled = Restorer(model, threads=1, skip_zeros=False, memory=memory)
    pieces = list[float]()
    found_HWC = tiled(image_HWC, pieces.append, task="x3").astype(int)
    assert len(pieces) > 2 and np.abs(found_HWC - whole(image_HWC, task="x3")).max() <= 1


def test_over_http_a_picture_is_enlarged_by_its_task_within_the_limits(made: Study) -> None:
    content = BytesIO()
    Image.fromarray(large(3)[:20, :24]).save(content, "PNG")
    options = WorkerOptions(ticket=file(made, "png-x4-r2"), threads=1, memory=MEMORY, pixels=72 * 60)
    restorer = Restorer(ticket(made, "png-x4-r2"), threads=1)

    def asked(task: str) -> Restored | Refusal:
        wanted = RestoreRequest(data=content.getvalue(), task=task)
        return answer(restorer, wanted, options, Heartbeat())

    found = asked("x3")
    assert isinstance(found, Restored) and Image.open(BytesIO(found.data)).size == (72, 60)
    for task, words in (
        ("x4", "would become 96 x 80 pixels"),
        ("x5", "does not undo 'x5'"),
        ("", "name a task"),
    ):
        refused = asked(task)
        assert isinstance(refused, Refusal) and words in refused.sentence, task


def test_a_file_whose_mask_keeps_nothing_of_its_head_is_refused(made: Study, tmp_path: Path) -> None:
    whole = ticket(made, "png-x2")
    mask, path = whole.mask, tmp_path / "headless.safetensors"
    bare = Mask({name: keep & (scale_of(name) is None) for name, keep in mask.items()})
    object.__setattr__(whole, "masks", Masks(dict.fromkeys(whole.masks, bare)))
    object.__setattr__(whole, "state", bare.apply(whole.state))
    writing.write(whole, path)
    with pytest.raises(
        UserError, match=r"headless.* cannot be run: a sub-network keeps nothing of the heads for"
    ):
        reading.read(path)


@pytest.mark.parametrize("name", ["joint", "png-x3-r1"])
def test_a_round_that_is_stopped_goes_on_to_the_same_bytes(copy: Study, name: str) -> None:
    calm = sha256_of(file(copy, name))
    shutil.rmtree(copy.files.ticket(name))
    shutil.rmtree(copy.root / ".mirl")
    asked = iter([False, False, False, True])
    stopping = Study(root=copy.root, params=copy.params, should_stop=lambda: next(asked))
    with pytest.raises(Stopped, match="stopped after step 4 of 9"):
        STAGES["round"](stopping, name)
    STAGES["round"](copy, name)
    assert sha256_of(file(copy, name)) == calm


@pytest.mark.parametrize("machine", [{"micro_batch": 2}, {"processes": 2}], ids=str)
def test_processes_and_pieces_of_a_batch_train_the_same_heads(copy: Study, machine: dict[str, int]) -> None:
    alone = ticket(copy, "joint")
    again = opened(copy.root, machine={"threads": 1, "device": "cpu", **machine})
    shutil.rmtree(again.root / ".mirl")
    shutil.rmtree(again.files.ticket("joint"))
    STAGES["round"](again, "joint")
    found, first = ticket(again, "joint"), ticket(again, "init")
    for layer, tensor in alone.state.items():
        assert torch.allclose(found.state[layer], tensor, atol=1e-5), layer
        assert not torch.equal(first.state[layer], tensor), layer


def test_what_the_network_cannot_serve_is_refused_by_the_scales_that_it_has(copy: Study) -> None:
    values = yaml.safe_load((copy.root / "params.yaml").read_text())
    values["data"]["tasks"]["rain"] = {"kind": "derain"}
    with pytest.raises(
        UserError, match=r"data.tasks.rain enlarges by 1, but edsr by 2, 3, 4; a study has tasks"
    ):
        Params.read(values, "params.yaml")
    del values["data"]["tasks"]["rain"]
    values["network"]["options"]["scales"] = [2, 4]
    with pytest.raises(
        UserError, match="round single-x3: the network has no head for x3; name 3 in its option"
    ):
        forecast(Params.read(values, "params.yaml"))
    del values["rounds"]["joint"]["tasks"]
    with pytest.raises(
        UserError, match="round joint names no task, but the study enlarges by 2, 3, 4; name its"
    ):
        Params.read(values, "params.yaml")


def test_a_zoom_that_nobody_planned_for_gets_its_head_when_it_comes(copy: Study) -> None:
    """The network has an up-sampler for x2 alone, and the tickets before the new requirement stay as they were."""
    values = yaml.safe_load((copy.root / "params.yaml").read_text())
    values["network"]["options"]["scales"] = [2]
    names = ["single-x2", "png-x2", "png-x4-r1", "png-x4-r2"]
    rounds = {name: values["rounds"][name] for name in names}
    rounds["png-x4-r1"]["after"] = "png-x2"
    promote = {"protocol": "sr", "reference": dict.fromkeys(values["data"]["tasks"], "single-x2")}
    study = opened(copy.root, network=values["network"], rounds=rounds, promote=promote)
    shutil.rmtree(study.root / "tickets")
    for stage, key in (("init", ""), *(("round", name) for name in names)):
        STAGES[stage](study, key)
    first, last = ticket(study, "png-x2"), ticket(study, "png-x4-r2")
    assert first.network.scales == () and last.network.options["scales"] == [2, 4]
    assert list(last.heads.values()) == [2, 4] and not [name for name in first.state if ".x4." in name]
    foretold = {item.name: item.density for item in forecast(study.params)}
    assert last.mask.density == pytest.approx(foretold["png-x4-r2"], abs=0.02)
    image_HWC = large(3)[:20, :24]
    before, after = (Restorer(each, threads=1)(image_HWC, task="x2") for each in (first, last))
    assert np.array_equal(before, after)
    assert Restorer(last, threads=1)(image_HWC, task="x4").shape == (80, 96, 3)
