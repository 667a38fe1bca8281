from collections.abc import Sequence
from pathlib import Path

import pytest

from mirl.command.jobs import PIPE, Job
from mirl.command.jobs import plan as plan_words
from mirl.config import UserError


def plan(inputs: Sequence[Path], out: Path) -> list[Job]:
    return plan_words([str(path) for path in inputs], str(out)).restore


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ["b.PNG", "a.jpg", "sub/a.jpg", "notes.txt", ".hidden.png", ".cache/c.png"]:
        (tmp_path / "album" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "album" / name).touch()
    return tmp_path / "album"


def test_one_to_a_file(album: Path) -> None:
    assert plan([album / "a.jpg"], album / "new.png") == [Job(album / "a.jpg", album / "new.png")]


def test_one_to_a_folder(album: Path, tmp_path: Path) -> None:
    (tmp_path / "v1.png").mkdir()
    for out in (tmp_path / "new", tmp_path / "v1.png", tmp_path / "v2.0"):
        assert plan([album / "a.jpg"], out) == [Job(album / "a.jpg", out / "a.jpg")]


def test_an_ending_that_cannot_be_written_is_still_meant_as_a_file(album: Path) -> None:
    assert plan([album / "a.jpg"], album / "new.gif") == [Job(album / "a.jpg", album / "new.gif")]


def test_a_folder_keeps_its_sub_folders(album: Path, tmp_path: Path) -> None:
    names = [job.target.relative_to(tmp_path / "out").as_posix() for job in plan([album], tmp_path / "out")]
    assert names == ["a.jpg", "b.PNG", "sub/a.jpg"]


def test_results_in_the_folder_are_not_restored_again(album: Path) -> None:
    (album / "out").mkdir()
    (album / "out" / "a.jpg").touch()
    assert [job.source.name for job in plan([album], album / "out")] == ["a.jpg", "b.PNG", "a.jpg"]
    assert len(plan([album], album)) == 4


def test_the_same_photograph_twice_is_restored_once(album: Path, tmp_path: Path) -> None:
    assert len(plan([album / "a.jpg", album / "a.jpg"], tmp_path / "out")) == 1


def test_one_photograph_goes_to_a_file_however_it_is_named(album: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for others in ([album / "sub" / ".." / "a.jpg"], [tmp_path / "empty"], [album / "*.webp"]):
        (job,) = plan([album / "a.jpg", *others], tmp_path / "new.png")
        assert job.target == tmp_path / "new.png"


def test_two_of_one_name_are_refused(album: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would both be written to"):
        plan([album / "a.jpg", album / "sub" / "a.jpg"], tmp_path / "out")


def test_several_to_a_file_are_refused(album: Path, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    for inputs, out in [([album], "new.png"), ([album / "a.jpg", album / "b.PNG"], "there")]:
        with pytest.raises(UserError, match="names a file; name a folder"):
            plan(inputs, tmp_path / out)


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no photographs"):
        plan([tmp_path], tmp_path / "out")


def test_an_input_without_photographs_does_not_stop_the_others(album: Path, tmp_path: Path) -> None:
    planned = plan_words([str(album / "a.jpg"), str(album / "*.webp")], str(tmp_path / "out"))
    assert [job.source.name for job in planned.restore] == ["a.jpg"]
    (sentence,) = planned.empty
    assert sentence.startswith(f"{album / '*.webp'} matches no photographs")


def test_globs(album: Path, tmp_path: Path) -> None:
    def names(pattern: str, out: Path = tmp_path / "out") -> list[str]:
        return [job.target.relative_to(out).as_posix() for job in plan([album / pattern], out)]

    assert names("*.jpg") == ["a.jpg"]
    assert names("**/*.jpg") == ["a.jpg", "sub/a.jpg"]
    assert names("**") == names("**/*") == ["a.jpg", "b.PNG", "sub/a.jpg"]
    assert names("../alb*") == ["album/a.jpg", "album/b.PNG", "album/sub/a.jpg"]
    assert names("**/*.jpg", album / "sub") == ["a.jpg"]  # what an earlier run has put there is no photograph
    assert plan([album / "b*"], album / "new.png") == [Job(album / "b.PNG", album / "new.png")]
    with pytest.raises(UserError, match=r"\*\.webp matches no photographs"):
        names("*.webp")


def test_a_name_that_looks_like_a_glob(album: Path, tmp_path: Path) -> None:
    odd = album / "[1] of\nmany.png"
    odd.touch()
    assert plan([odd], tmp_path / "out") == [Job(odd, tmp_path / "out" / odd.name)]


def test_pipes(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan_words(["-"], "-").restore == [Job(PIPE, PIPE)]
    assert plan_words(["-"], str(tmp_path / "x.png")).restore == [Job(PIPE, tmp_path / "x.png")]
    assert plan_words([str(album / "a.jpg")], "-").restore == [Job(album / "a.jpg", PIPE)]
    with pytest.raises(UserError, match="standard output takes one photograph"):
        plan_words([str(album)], "-")
    with pytest.raises(UserError, match="standard input has no name"):
        plan_words(["-"], str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").touch()
    assert plan_words(["./-"], "-").restore == [Job(tmp_path / "-", PIPE)]  # a file of that name
