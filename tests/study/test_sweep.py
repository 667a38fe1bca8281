"""`mirl sweep` on the study of seconds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mirl.command.main import main
from mirl.config import UserError
from mirl.data.packed import PackedImages
from mirl.study.params import Params
from mirl.study.stages import STAGES
from mirl.study.study import Study
from mirl.study.sweep import photographs
from mirl.tickets import reading, writing
from mirl.tickets.routing import ByTask


@pytest.fixture
def trained(study: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The study with its prepared data, an untrained and a dense ticket, as the current folder."""
    for stage, key in (("prepare", ""), ("init", ""), ("round", "dense")):
        STAGES[stage](study, key)
    monkeypatch.chdir(study.root)
    return study


def _file(study: Study, name: str) -> str:
    return str(study.files.ticket(name) / "ticket.safetensors")


def test_two_tickets_are_swept_beside_each_other(trained: Study, capsys: pytest.CaptureFixture[str]) -> None:
    files = [_file(trained, name) for name in ("init", "dense")]
    assert main(["sweep", *files, "--points", "2"]) == 0
    said = capsys.readouterr().out
    assert "denoise_25: sigma_255, grey levels of 255, from 5 to 100\n  init gains " in said
    assert said.endswith("\n\nthe curves: report/sweep/sweep.html\n")
    folder = trained.root / "report" / "sweep"
    assert {path.name for path in folder.iterdir()} == {"sweep.csv", "sweep.parquet", "sweep.html"}
    frame, table = pd.read_csv(folder / "sweep.csv"), pd.read_parquet(folder / "sweep.parquet")
    assert frame.shape == table.shape and frame.isna().sum().sum() == 0
    assert set(frame["ticket"]) == {"init", "dense"} and frame["sha256"].nunique() == 2
    swept = set(zip(frame["task"], frame["severity"]))
    assert len(swept) == 6 and ("dehaze", "airlight") in swept
    for name in ("init", "dense"):
        assert name in (folder / "sweep.html").read_text()


def test_at_what_is_trained_it_is_what_evaluate_measures(trained: Study) -> None:
    STAGES["evaluate"](trained, "dense")
    scores = pd.read_parquet(trained.files.scores("dense") / "scores.parquet").query("protocol == 'paper'")
    assert main(["sweep", _file(trained, "dense"), "--points", "2", "-o", "out"]) == 0
    frame = pd.read_parquet("out/sweep.parquet")
    for task, value in (("denoise_15", 15), ("denoise_50", 50), ("derain", 1)):
        own = frame[(frame["task"] == task) & (frame["value"] == value)].set_index("image")
        there = scores[scores["task"] == task].set_index("image")
        columns = ["psnr_db", "ssim", "input_psnr_db", "change"]
        assert len(own) == 2 and own[columns].equals(there[columns])


def test_the_same_sweep_gives_the_same_bytes(trained: Study) -> None:
    for out in ("one", "two"):
        command = ["sweep", _file(trained, "dense"), "-o", out, "--points", "2", "--limit", "1"]
        assert main([*command, "--task", "derain", "--task", "dehaze"]) == 0
    for name in ("sweep.csv", "sweep.parquet", "sweep.html"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()
    frame = pd.read_csv("one/sweep.csv")
    assert list(dict.fromkeys(frame["task"])) == ["derain", "dehaze"]
    assert set(frame["image"]) == {"test-test-0"}


def test_the_study_says_how_many_photographs_and_which_protocol(trained: Study) -> None:
    few = (trained.root / "params.yaml").read_text()
    few = few.replace("evaluate:", "evaluate:\n  limit: 1").replace("- paper\n  - strict", "- strict")
    Path("few.yaml").write_text(few.replace("promote: {}", "promote: {protocol: strict}"))
    command = [
        "sweep",
        _file(trained, "dense"),
        "--params",
        "few.yaml",
        "--severity",
        "rain",
        "--points",
        "2",
    ]
    assert main(command) == 0
    frame = pd.read_csv("report/sweep/sweep.csv")
    assert frame["image"].nunique() == 1 and set(frame["protocol"]) == {"strict"}
    assert set(frame["value"]) == {0.25, 1, 4}


def test_a_ticket_by_task_is_swept_on_the_tasks_that_it_serves(trained: Study) -> None:
    dense = reading.read(_file(trained, "dense"))
    routing = ByTask(kind="task", tasks={"derain": next(iter(dense.masks))})
    writing.write(replace(dense, routing=routing), Path("routed.safetensors"))
    assert main(["sweep", "routed.safetensors", "--points", "2"]) == 0
    frame = pd.read_csv("report/sweep/sweep.csv")
    assert set(frame["task"]) == {"derain"}


def test_tickets_of_one_name_are_told_apart_and_one_ticket_counts_once(trained: Study) -> None:
    dense = _file(trained, "dense")
    assert main(["pack", dense, "-o", "small.safetensors"]) == 0
    assert main(["sweep", dense, dense, "small.safetensors", "--severity", "rain", "--points", "2"]) == 0
    frame = pd.read_csv("report/sweep/sweep.csv")
    assert set(frame["ticket"]) == {f"dense {sha256[:8]}" for sha256 in frame["sha256"]}
    assert frame["ticket"].nunique() == 2


def test_the_report_says_where_it_is_and_keeps_it(trained: Study, capsys: pytest.CaptureFixture[str]) -> None:
    STAGES["evaluate"](trained, "dense")
    one = Params.model_validate(
        trained.params.model_dump(exclude_unset=True)
        | {"rounds": {"dense": {"arm": "dense", "after": "init"}}}
    )
    STAGES["compare"](replace(trained, params=one), "")
    before = {path.name: path.read_bytes() for path in Path("report").glob("*.*")}
    capsys.readouterr()
    assert main(["report"]) == 0 and "sweep" not in capsys.readouterr().out
    assert main(["sweep", _file(trained, "dense"), "--severity", "rain", "--points", "2"]) == 0
    STAGES["compare"](replace(trained, params=one), "")
    assert {path.name: path.read_bytes() for path in Path("report").glob("*.*")} == before
    capsys.readouterr()
    assert main(["report"]) == 0
    assert capsys.readouterr().out.endswith("how strong the damage is: report/sweep/sweep.html\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "fog"], "there is no task 'fog' in the prepared data"),
        (["--severity", "fog"], "there is no severity 'fog'"),
        (["-o", "params.yaml"], "params.yaml is no folder"),
        (["-o", "params.yaml/in"], "params.yaml/in is no folder"),
        (["--params", "none.yaml"], "none.yaml"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    trained: Study, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", _file(trained, "init"), *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not Path("report").exists()


def test_without_prepared_data_the_way_to_it_is_named(
    study: Study, ticket_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study.root)
    assert main(["sweep", str(ticket_file)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "mirl: error: data/prepared/manifest.parquet does not exist; `dvc repro prepare` makes it"
    )
    assert said.count("\n") == 1


def test_stopped_it_leaves_nothing_half_done(
    trained: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mirl.study.sweep.ImageBar.__call__", stopped)
    assert main(["sweep", _file(trained, "dense")]) == 130
    assert capsys.readouterr().err.endswith("mirl: stopped\n") and not Path("report").exists()


def test_without_photographs_the_clean_sides_of_pairs_are_swept(trained: Study) -> None:
    packed = PackedImages(trained.files.prepared)
    assert [photograph.image for photograph in photographs(packed, packed.tasks["derain"])] == [
        "test-test-0", "test-test-1",
    ]  # fmt: skip
    pairs = packed.manifest["task"] == "derain"
    packed.manifest = packed.manifest[pairs]
    assert len(photographs(packed, packed.tasks["derain"])) == 2
    with pytest.raises(UserError, match="has no clean test photographs for dehaze"):
        photographs(packed, packed.tasks["dehaze"])
