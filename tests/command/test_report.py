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
        "difference_db": 0.31, "ticket_mb": 0.211, "weight_steps": 6875.0,
        "search/dense_trainings": 2.8, "verdict": "wins", "beats_controls": "yes",
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
        "6,875",
        "2.8x",
        "wins",
        "yes",
    ]
    assert "global-r2 is promoted." in said and "more" not in said
    assert "report/index.html" in said


def test_the_work_is_a_column_where_it_was_compared(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "report").mkdir()
    (study / "report" / "decision.json").write_text('{"reasons": ["nothing"]}')
    rows = [{"name": "routed", "density/prunable": 1.0, "work/share": 0.456}]
    for more, head, value in (({}, [], []), ({"of_singles/mb": 0.286}, ["of", "singles"], ["28.6%"])):
        pd.DataFrame([rows[0] | more]).to_parquet(study / "report" / "comparison.parquet")
        assert main(["report"]) == 0
        said = capsys.readouterr().out
        first = [line.split() for line in said.splitlines()[:2]]
        assert first == [["ticket", "density", "work", *head], ["routed", "100.0%", "45.6%", *value]]
        assert ("of singles: size of the file" in said) == bool(more)


def test_a_report_that_an_older_mirl_made_is_shown_without_its_cost(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "report").mkdir()
    rows = [{"name": "dense", "ticket_mb": 0.4}, {"name": "global-r1", "ticket_mb": 0.3}]
    (study / "report" / "decision.json").write_text('{"reasons": ["nothing"]}')
    pd.DataFrame(rows).to_parquet(study / "report" / "comparison.parquet")
    assert main(["report"]) == 0
    assert "search" not in capsys.readouterr().out
    one_unknown = [rows[0] | {"search/dense_trainings": 1.0}, rows[1]]
    pd.DataFrame(one_unknown).to_parquet(study / "report" / "comparison.parquet")
    assert main(["report"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:3]] == [
        ["dense", "0.40", "1x"],
        ["global-r1", "0.30"],
    ]


def test_a_partial_ticket_says_what_it_serves_and_has_gaps_elsewhere(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "report").mkdir()
    columns = ["density/prunable", "psnr_db/mean", "ssim/mean", "difference_db", "difference_low_db"]
    columns += ["difference_high_db", "input_psnr_db/mean", "psnr_db/derain", "input_psnr_db/derain"]
    haze = {"psnr_db/dehaze": 20.0, "input_psnr_db/dehaze": 15.0}
    rest = dict.fromkeys(columns, 1.0) | {"beats_controls": "", "collapse": ""}
    rows = [
        rest | {"name": "rain", "verdict": "partial", "reason": "serves only derain, where it wins: mean"},
        rest | haze | {"name": "dense", "verdict": "reference", "reason": ""},
    ]
    (study / "report" / "decision.json").write_text('{"reasons": ["nothing"]}')
    pd.DataFrame(rows).to_parquet(study / "report" / "comparison.parquet")
    assert main(["report"]) == 0
    assert "rain serves only derain, where it wins: mean\n" in capsys.readouterr().out
    assert main(["report", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| *input* |  | 1.00 | 1.00 | 15.00 |  |  |  |  |  |"
    assert lines[3].startswith("| rain | 100.00% | 1.00 | 1.00 |  | 1.0000 |") and "nan" not in lines[3]


def test_without_a_report_it_says_what_makes_one(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == 2
    assert "`dvc repro` makes it" in capsys.readouterr().err


def test_as_markdown_every_task_has_its_column(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "report").mkdir()
    row = {
        "name": "dense", "density/prunable": 1.0, "psnr_db/mean": 26.0, "psnr_db/derain": 25.5, "ssim/mean": 0.8,
        "input_psnr_db/mean": 20.0, "input_psnr_db/derain": 21.0, "difference_db": 0.0, "difference_low_db": 0.0,
        "difference_high_db": 0.0, "verdict": "reference", "beats_controls": "", "collapse": "",
    }  # fmt: skip
    ticket = {"name": "global-r1", "density/prunable": 0.302491, "psnr_db/derain": 25.716, "verdict": "wins"}
    ticket |= {
        "difference_db": 0.123,
        "difference_low_db": 0.1,
        "difference_high_db": 0.15,
        "collapse": "layer gone: up_1; path cut: x; path cut: y",
    }
    pd.DataFrame([row, row | ticket]).to_parquet(study / "report" / "comparison.parquet")
    assert main(["report", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| ticket | density | mean | derain | SSIM | to dense (interval) |")
    assert lines[2] == "| *input* |  | 20.00 | 21.00 |  |  |  |  |  |"
    assert lines[3] == "| dense | 100.00% | 26.00 | 25.50 | 0.8000 |  | reference |  |  |"
    assert lines[4] == (
        "| global-r1 | 30.25% | 26.00 | 25.72 | 0.8000 | +0.12 (+0.10 .. +0.15) | wins |  | layer gone: up\\_1, and 2 more |"
    )
