from pathlib import Path

import pytest
import yaml

from mirl.command import cost
from mirl.command.main import main

STUDIES = Path(__file__).parents[2] / "studies"
DEMO = ["cost", "--params", str(STUDIES / "demo.yaml")]


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_line_a_round_and_one_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(DEMO) == 0
    said = lines(capsys)
    assert said[0][:2] == ["study", "demo:"] and said[0][-5:] == ["4.15", "times", "the", "dense", "training"]
    rows = {row[0]: row for row in said[3:] if row}
    assert rows["dense"][1:4] == ["100.00%", "1,400", "11,200"]
    assert rows["random-r3"][1:4] == ["20.00%", "1,260", "10,080"]
    assert rows["all"][:4] == ["all", "6", "5,810", "46,480"]
    assert "hours:" not in rows


def test_hours_on_a_stated_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DEMO, "--device-tflops", "0.001", "--share", "0.5"]) == 0
    said = lines(capsys)
    rows = {row[0]: row for row in said if row}
    flops, hours = float(rows["all"][-3]), float(rows["all"][-1])
    assert hours == pytest.approx(flops / 0.5e9 / 3600, rel=0.01)
    assert {"50%", "0.001"} <= set(rows["hours:"])


def test_less_than_seconds_are_not_told_in_powers_of_ten(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DEMO, "--device-tflops", "400", "--share", "0.2"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("dense", "all 6"))]
    assert all(line.endswith("< 0.001") for line in said) and len(said) == 2


def test_hours_by_what_a_step_takes_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirl.study.dry_run.step_seconds", lambda params, root: 3.6)
    assert main([*DEMO, "--measure"]) == 0
    rows = {row[0]: row for row in lines(capsys) if row}
    assert rows["dense"][-1] == "1.4" and rows["all"][-1] == "5.81"
    assert {"3.6", "measured", "threads"} <= set(rows["hours:"])


def test_a_step_through_several_sub_networks_takes_as_long_as_all_of_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirl.study.dry_run.step_seconds", lambda params, root: 3.6)
    assert main(["cost", "--params", str(STUDIES / "class-pruning.yaml"), "--measure"]) == 0
    rows = {row[0]: row for row in lines(capsys) if row}
    hours = {name: row[-1] for name, row in rows.items()}
    assert (hours["dense"], hours["routed-r1"], hours["anew-r1"], hours["first-r1"]) == (
        "2.5",
        "7.5",
        "7.5",
        "2.5",
    )
    assert hours["routed-r2"] == "1.25"  # half of the steps, forward through three


def test_a_device_is_stated_whole_or_not_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    for half in (["--device-tflops", "10"], ["--share", "0.5"]):
        assert main([*DEMO, *half]) == 2
        assert "hours need both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--share", "0"),
        ("--share", "1.1"),
        ("--share", "a"),
        ("--device-tflops", "inf"),
        ("--device-tflops", "0"),
    ],
)
def test_other_amounts_are_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*DEMO, option, value])
    assert f"{value!r} is not a " in capsys.readouterr().err


def test_a_search_that_ends_above_its_target_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The demo without the last of its rounds, and what comes after that."""
    values = yaml.safe_load((STUDIES / "demo.yaml").read_text())
    rounds = [name for name, item in values["rounds"].items() if item["arm"] == "global"]
    assert main(DEMO) == 0 and "above the arm's target" not in capsys.readouterr().out
    values["rounds"] = {name: values["rounds"][name] for name in ["dense", *rounds[:-1]]}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    assert main(["cost", "--params", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"{rounds[-2]} is the last round of its arm and ends above the arm's target, at 23.97%" in said
    assert said.count("above the arm's target") == 1


def test_what_may_end_sooner_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--params", str(STUDIES / "search.yaml")]) == 0
    said = capsys.readouterr().out
    assert said.count("<= 2,500") == 10 and "<= a round that may end sooner" in said
    assert cost.Speed().source == "" and "hours" not in said
