"""The study of super-resolution, on photographs of seconds."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from mirl.command.main import main
from mirl.data.bicubic import reduced
from mirl.study.params import Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from tests.study.conftest import photograph

SCALE = 4
FILE = Path(__file__).parents[2] / "studies/super-resolution.yaml"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    values = yaml.safe_load(FILE.read_text())
    root = tmp_path / values["data"]["root"]
    for number, folder in enumerate(("BSDS500/train", "BSDS500/test")):
        (root / folder).mkdir(parents=True)
        Image.fromarray(large(number)).save(root / folder / "a.png")
    for number, source in enumerate(("set5", "set14", "b100")):
        places = {key: root / values["data"]["sources"][source][key] for key in ("input", "target")}
        for place in places.values():
            place.mkdir(parents=True)
        clean = large(10 + number)
        Image.fromarray(clean).save(places["target"] / "b.png")
        Image.fromarray(reduced(clean, SCALE)).save(places["input"] / f"bx{SCALE}.png")
    values["network"]["options"] |= {"width": 8, "narrow": 4, "layers": 1}
    values["train"] |= {
        "steps": 12,
        "rewind_step": 2,
        "warmup_steps": 2,
        "batches": {"batch": 3, "patch": 12},
    }
    values["arms"]["levels"]["router"] |= {"channels": 1, "patch": 12}
    values["evaluate"] |= {"limit": 1}
    values["machine"] = {"threads": 1, "device": "cpu"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return Study(root=tmp_path, params=Params.read(values, "params.yaml"))


def large(seed: int) -> np.ndarray:
    """80 x 96 pixels."""
    return photograph(seed).repeat(2, axis=0).repeat(2, axis=1)


def test_it_is_trained_measured_and_restores(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = list(study.params.rounds)
    STAGES["prepare"](study, "")
    STAGES["init"](study, "")
    for stage in ("round", "evaluate"):
        for name in rounds:
            STAGES[stage](study, name)
    STAGES["compare"](study, "")
    table = pd.read_parquet(study.files.report / "comparison.parquet").set_index("name")
    assert list(table.index) == rounds == ["dense", "levels", "router"]
    scores = pd.read_parquet(study.files.scores("router") / "scores.parquet")
    assert set(scores["task"]) == {"set5", "set14", "b100"} and set(scores["protocol"]) == {"sr", "strict"}
    assert scores["work"].between(0.3, 1.1).all()
    on_y = scores[scores["protocol"] == "sr"]
    assert (on_y["psnr_db"] == on_y["psnr_y_db"]).all() and (on_y["input_psnr_db"] > 20).all()
    spent = json.loads((study.files.ticket("dense") / "metrics.json").read_text())
    weights = 8 * 25 + 8 * 4 + 4 * 4 * 9 + 4 * 8 + 8 * 81
    assert spent["train_flops"] == pytest.approx(
        12 * 3 * 12 * 12 * weights * 6
    )  # of patches as the network gets them
    monkeypatch.chdir(study.root)
    Image.fromarray(large(3)).save("in.png")
    ticket = str(study.files.ticket("router") / "ticket.safetensors")
    assert main(["restore", "in.png", "-o", "out.png", "--ticket", ticket]) == 0
    with Image.open("out.png") as made:
        assert made.size == (4 * 96, 4 * 80)
