import json
from pathlib import Path

import pandas as pd
import pytest

from mirl.command.main import main


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_the_decision_and_where_to_look(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "report").mkdir()
    row = {
        "name": "global-r2", "density/prunable": 0.4225, "density/all": 0.44, "psnr_db/mean": 26.126, "ssim/mean": 0.81234,
        "difference_db": 0.31, "ticket_mb": 0.211, "verdict": "wins", "beats_controls": "yes",
    }  # fmt: skip
    pd.DataFrame([row]).to_parquet(study / "report" / "comparison.parquet")
    decision = {"ticket": "global-r2", "reasons": ["global-r2 is promoted.", "more"], "sha256": ""}
    (study / "report" / "decision.json").write_text(json.dumps(decision))
    assert main(["report"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[1].split() == [
        "global-r2",
        "42.2%",
        "44.0%",
        "26.13",
        "0.8123",
        "+0.31",
        "0.21",
        "wins",
        "yes",
    ]
    assert "global-r2 is promoted." in said and "more" not in said
    assert "report/index.html" in said


def test_without_a_report_it_says_what_makes_one(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == 2
    assert "`dvc repro` makes it" in capsys.readouterr().err
