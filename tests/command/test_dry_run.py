from pathlib import Path

import pytest

from mirl.command.main import main

STUDIES = Path(__file__).parents[2] / "studies"


def test_the_cost_comes_first_and_the_pixels_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mirl.study.dry_run.step_seconds", lambda params, root: 2.0)
    monkeypatch.setattr("mirl.command.dry_run.dry_run", lambda params, root: iter([("round dense", 12.3)]))
    command = ["dry-run", "--params", str(STUDIES / "demo.yaml")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.index("at 2 s a step, measured here") < said.index("one step of every stage")
    assert "on made-up pixels, as data/prepared does not exist" in said
    assert said.index("one step of every stage") < said.index("12.3 s") < said.index("everything works")
    (tmp_path / "data/prepared").mkdir(parents=True)
    assert main(command) == 0
    assert "on the prepared data" in capsys.readouterr().out
