import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mirl.command.jobs import PIPE, Job, in_words
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


def test_rare_endings_of_jpeg_are_photographs(tmp_path: Path) -> None:
    for name in ("a.jfif", "b.JPE", "c.pjpeg"):
        (tmp_path / name).touch()
    assert len(plan([tmp_path], tmp_path / "out")) == 3


def test_linked_folders_are_searched_and_links_that_lead_back_end(album: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep" / "d.png").touch()
    (album / "linked").symlink_to(tmp_path / "elsewhere")
    (album / "sub" / "back").symlink_to(album)
    planned = plan_words([str(album)], str(tmp_path / "out"))
    names = [job.target.relative_to(tmp_path / "out").as_posix() for job in planned.restore]
    assert names == ["a.jpg", "b.PNG", "linked/deep/d.png", "sub/a.jpg"]
    assert planned.left_out["linked back"] == 1


def test_what_has_the_ending_of_a_picture_is_never_passed_over(album: Path, tmp_path: Path) -> None:
    (album / "gone.jpg").symlink_to(tmp_path / "gone")
    (album / "loop.jpg").symlink_to(album / "loop.jpg")
    os.mkfifo(album / "pipe.png")
    names = {job.source.name for job in plan([album], tmp_path / "out")}
    assert {"gone.jpg", "loop.jpg", "pipe.png"} < names
    assert {"gone.jpg", "pipe.png"} < {job.source.name for job in plan([album / "*"], tmp_path / "out")}


@pytest.mark.parametrize("given", ["", "**/*.jpg", "*"])
def test_a_folder_that_cannot_be_read_is_told(
    album: Path, tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: Path) -> Iterator[Path]:
        if folder.name == "sub":  # as for anybody but root
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", refused)
    planned = plan_words([str(album / given)], str(tmp_path / "out"))
    assert planned.empty == [f"{album / 'sub'} cannot be read (permission denied)"]


def test_what_is_left_out_is_counted(album: Path, tmp_path: Path) -> None:
    for name in ("raw.NEF", "raw2.nef", "moving.gif", "LICENSE"):
        (album / name).touch()
    planned = plan_words([str(album)], str(tmp_path / "out"))
    assert dict(planned.left_out) == {".nef": 2, ".gif": 1, ".txt": 1, "without an ending": 1, "hidden": 2}
    assert in_words(planned.left_out) == "2 .nef, 2 hidden, 1 .gif, 1 .txt, 1 without an ending"
    with pytest.raises(UserError, match=r"holds no photographs but 1 \.txt; expected"):
        (tmp_path / "texts").mkdir()
        (tmp_path / "texts" / "a.txt").touch()
        plan([tmp_path / "texts"], tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["new.heic", "new.HEIC", "new.jxl", "new.3fr", "new.restored", "new.jpeg2000"]
)
def test_an_output_with_an_ending_is_a_file(album: Path, name: str) -> None:
    assert plan([album / "a.jpg"], album / name) == [Job(album / "a.jpg", album / name)]
    with pytest.raises(UserError, match="names a file; name a folder .* a / behind it"):
        plan([album], album / name)
    (job,) = plan_words([str(album / "a.jpg")], f"{album / name}/").restore
    assert job.target == album / name / "a.jpg"


@pytest.mark.parametrize("name", ["new", "v2.0", "2024.07.31", "Mr. Smith", ".hidden"])
def test_an_output_without_one_is_a_folder(album: Path, name: str) -> None:
    assert plan([album / "a.jpg"], album / name) == [Job(album / "a.jpg", album / name / "a.jpg")]
