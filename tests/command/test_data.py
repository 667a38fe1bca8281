from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mirl.command.main import main


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: two clean photographs to train on, one to test with."""
    monkeypatch.chdir(tmp_path)
    for number, place in enumerate(["train/a.png", "train/b.png", "test/c.png"]):
        path = tmp_path / "photos" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    sources = {name: {"kind": "folder", "path": name, "split": name} for name in ("train", "test")}
    settings = {
        "data": {"root": "photos", "sources": sources},
        "train": {"steps": 1, "batches": {"patch": 32}},
        "anything": "else",
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def check(study: Path) -> int:
    return main(["data", "check", "--params", str(study / "params.yaml")])


def test_sound_data(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(study) == 0
    counts = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train", "photographs", "2"] in counts and ["test", "photographs", "1"] in counts


def test_broken_and_small_images(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "photos/train/a.png").write_text("no picture")
    Image.new("RGB", (31, 40)).save(study / "photos/train/b.png")
    assert check(study) == 2
    said = capsys.readouterr().out
    assert "a.png" in said and "31 x 40, smaller than the training patch of 32 x 32" in said


def test_leaks_are_an_error_unless_settled(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.open(study / "photos/test/c.png").save(study / "photos/train/leak.png")
    assert check(study) == 2
    assert "leak.png" in capsys.readouterr().out
    settings = yaml.safe_load((study / "params.yaml").read_text())
    settings["data"]["leaks"] = "leave_out"
    (study / "params.yaml").write_text(yaml.safe_dump(settings))
    assert check(study) == 0
    assert "leak.png" in capsys.readouterr().out


def test_other_data_than_the_papers_is_no_error(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        (study / "photos" / split).rename(study / "photos" / f"{split}-photographs")
        (study / "photos" / split / "denoise").mkdir(parents=True)
        (study / "photos" / f"{split}-photographs").rename(study / "photos" / split / "denoise" / "BSD400")
    settings = yaml.safe_load((study / "params.yaml").read_text())
    settings["data"]["sources"] = {"benchmark": {"kind": "mirl"}}
    (study / "params.yaml").write_text(yaml.safe_dump(settings))
    assert check(study) == 0
    said = capsys.readouterr().out
    assert "the paper has 400; from" in said and "get it from" in said and "nothing is wrong" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("train: {steps: 1}", "`data` is missing"),
        ("- a list", "`data` is missing"),
        ("data: {root: x, sources: {a: {kind: skimage}}, leak: allow}", "did you mean `leaks`"),
        ("data: [", "is not valid YAML"),
    ],
)
def test_wrong_settings(content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "params.yaml").write_text(content)
    assert check(tmp_path) == 2
    error = capsys.readouterr().err
    assert error.startswith("mirl: error: ") and said in error and error.count("\n") == 1


def test_the_data_of_a_study_elsewhere_is_looked_for_in_the_current_folder(study: Path) -> None:
    (study / "studies").mkdir()
    (study / "params.yaml").rename(study / "studies" / "own.yaml")
    assert main(["data", "check", "--params", "studies/own.yaml"]) == 0
