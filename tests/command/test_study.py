from pathlib import Path

import pytest

from mirl.command.main import main


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/demo.yaml").write_text("# Minutes on a laptop.\nstudy: demo\n")
    (tmp_path / "studies/paper.yaml").write_text("study: paper\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_is_copied(root: Path) -> None:
    assert main(["study", "demo"]) == 0
    assert (root / "params.yaml").read_bytes() == (root / "studies/demo.yaml").read_bytes()
    assert main(["study", "paper"]) == 0  # what is lost is still in studies/
    assert (root / "params.yaml").read_text() == "study: paper\n"
    assert sorted(path.name for path in root.iterdir()) == ["params.yaml", "studies"]


def test_they_are_listed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["study", "demo"])
    capsys.readouterr()
    assert main(["study"]) == 0
    assert capsys.readouterr().out == "* demo       Minutes on a laptop.\n  paper\n"


def test_an_edited_one_is_kept_unless_forced(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "params.yaml").write_text("study: demo\nsteps: 7\n")
    assert main(["study", "demo"]) == 2
    said = "params.yaml is none of studies/*.yaml: it or the file that it came from has been edited; copy it there"
    assert said in capsys.readouterr().err
    assert "steps: 7" in (root / "params.yaml").read_text()
    assert main(["study", "demo", "--force"]) == 0
    assert "steps" not in (root / "params.yaml").read_text()


def test_an_unknown_study_lists_the_known(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "dmo"]) == 2
    assert "there are demo, paper" in capsys.readouterr().err
    assert not (root / "params.yaml").exists()


def test_elsewhere_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["study"]) == 2
    assert "run this in the folder" in capsys.readouterr().err


def test_a_study_whose_photographs_are_missing_says_so(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "studies" / "far.yaml").write_text("data: {root: data/far}\n")
    assert main(["study", "far", "--force"]) == 0
    assert "data/far does not exist; `mirl data check` says what is missing" in capsys.readouterr().out
    (root / "data" / "far").mkdir(parents=True)
    assert main(["study", "far"]) == 0
    assert "does not exist" not in capsys.readouterr().out
