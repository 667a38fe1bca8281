"""A study whose tasks are its own, from params.yaml alone: one of pairs, and two that are made."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from mirl.study.dry_run import dry_run
from mirl.study.params import Params
from mirl.study.stages import STAGES
from mirl.study.study import Study

TASKS = {
    "underwater": {"kind": "pairs"},
    "jpeg": {"kind": "jpeg", "quality": [10, 60]},
    "shared": {"kind": "social"},
}


@pytest.fixture
def own(study: Study) -> Study:
    """The study of seconds with those tasks, a dense round, and green pictures beside their originals."""
    sources = {}
    for split, count in (("train", 3), ("test", 2)):
        for number in range(count):
            clean = np.random.default_rng(300 * count + number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
            picture = Image.fromarray(clean).resize((48, 40), Image.Resampling.BICUBIC)
            green = Image.fromarray((np.asarray(picture) * (0.3, 0.9, 0.8)).astype(np.uint8))
            for side, pixels in (("input", green), ("target", picture)):
                path = study.root / f"photographs/sea/{split}/{side}/{split}-{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels.save(path)
        sources[f"sea-{split}"] = {
            "kind": "pairs", "input": f"sea/{split}/input", "target": f"sea/{split}/target", "split": split,
            "task": "underwater",
        }  # fmt: skip
    values = yaml.safe_load((study.root / "params.yaml").read_text())
    values["data"]["tasks"] = TASKS
    values["data"]["sources"] |= sources
    values["train"]["batches"]["balance"] = {"underwater": 2, "jpeg": 1, "shared": 1}
    values["rounds"] = {name: values["rounds"][name] for name in ("dense", "global-r1")}
    (study.root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return Study(root=study.root, params=Params.read(values, "params.yaml"))


def test_own_tasks_are_trained_measured_and_compared(own: Study) -> None:
    for stage, keys in (
        ("prepare", [""]),
        ("init", [""]),
        ("round", own.params.rounds),
        ("evaluate", own.params.rounds),
    ):
        for key in keys:
            STAGES[stage](own, key)
    STAGES["compare"](own, "")
    table = pd.read_csv(own.files.report / "comparison.csv")
    for task in TASKS:
        assert table[f"psnr_db/{task}"].gt(0).all() and table[f"input_psnr_db/{task}"].gt(0).all()
    assert not [column for column in table.columns if "denoise" in column or "derain" in column]
    page = (own.files.report / "index.html").read_text()
    assert all(f">{task}<" in page for task in TASKS)
    scores = pd.read_parquet(own.files.scores("dense") / "scores.parquet")
    assert scores.groupby("task").size().to_dict() == dict.fromkeys(TASKS, 2 * 2)  # protocols, pictures
    assert scores["input_psnr_db"].between(5, 60).all()
    pictures = {path.name.partition("--")[0] for path in (own.files.scores("dense") / "pictures").iterdir()}
    assert pictures == set(TASKS)
    history = pd.read_parquet(own.files.ticket("dense") / "history.parquet")
    assert np.isfinite(history.select_dtypes("number").to_numpy()).all()
    assert json.loads((own.files.report / "decision.json").read_text())["reasons"]


def test_a_study_of_own_tasks_can_be_rehearsed_without_its_data(own: Study, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = [stage for stage, _ in dry_run(own.params, elsewhere)]
    assert done[0] == "prepare" and done[-1] == "compare"
