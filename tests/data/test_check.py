import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirl.config import UserError
from mirl.data.check import check
from mirl.data.prepare import prepare
from mirl.data.sections import DataSection, FolderSource, MirlSource
from tests.data.conftest import Draw, Save
from tests.pack import PACK, needs_pack


def section(**sources: Any) -> DataSection:
    return DataSection(root="unused", sources=sources or {"all": MirlSource(kind="mirl")})


def test_a_sound_data_set_is_counted(layout: Path) -> None:
    report = check(section(), layout)
    assert report.sound and report.text().endswith("nothing is wrong")
    assert report.counts["train", "derain"] == 2 and report.counts["train", ""] == 3


def test_the_authors_layout_is_counted_by_folder_and_judged_beside_the_paper(layout: Path) -> None:
    report = check(section(), layout)
    assert report.places == {
        "train/denoise/BSD": 3, "train/derain/S": 2, "train/dehaze/S": 2, "val/denoise/V": 1, "test/denoise/T": 1,
        "test/derain/S": 1, "test/dehaze/S": 1,
    }  # fmt: skip
    (layout / "train/denoise/BSD").rename(layout / "train/denoise/BSD400")
    (layout / "train/denoise/BSD400/p0.png").write_bytes(b"nothing")
    report = check(section(), layout)
    assert report.places and report.places["train/denoise/BSD400"] == 2  # what is broken does not count
    assert "2  the paper has 400; from https://" in report.text()
    assert len(report.problems) == 1  # to be short of the paper is none


def test_the_layout_below_another_folder_is_the_same(layout: Path) -> None:
    report = check(section(all=MirlSource(kind="mirl", path=layout.name)), layout.parent)
    assert report.places and report.places["train/denoise/BSD"] == 3


def test_data_in_no_layout_is_not_measured_by_the_paper(layout: Path) -> None:
    report = check(
        section(train=FolderSource(kind="folder", path="train/denoise/BSD", split="train")), layout
    )
    assert report.places is None and "paper" not in report.text()


def test_everything_that_is_wrong_is_named_at_once(layout: Path, draw: Draw, save: Save) -> None:
    (layout / "train/denoise/BSD/p0.png").write_bytes(b"nothing")
    save(layout / "train/denoise/BSD/small.png", draw(9, 40, 100))
    save(layout / "train/derain/S/input/derain0_rainy.png", draw(3, 80, 90))
    (layout / "test/dehaze/S/target/dehaze0_gt.png").unlink()
    save(layout / "test/dehaze/S/target/other_gt.png", draw(10))
    save(layout / "train/denoise/BSD/copy.png", draw(50))
    (layout / "val/denoise/EMPTY").mkdir()
    report = check(section(), layout, patch=64)
    for words in (
        "p0.png is not an image", "small.png is 100 x 40, smaller than the training patch of 64 x 64",
        "derain0_rainy.png is 90 x 80 but its partner", "dehaze0_hazy.png has no partner",
        "other_gt.png has no partner", "EMPTY has no image files",
    ):  # fmt: skip
        assert sum(words in problem for problem in report.problems) == 1, words
    assert len(report.problems) == 6
    assert [Path(leak.train).name for leak in report.leaks] == ["copy.png"]
    assert not report.sound and "copy.png  =  " in report.text()


def test_only_training_pictures_must_hold_a_patch(layout: Path) -> None:
    assert check(section(), layout, patch=81).problems
    assert not any("/test/" in problem for problem in check(section(), layout, patch=81).problems)


def test_a_missing_folder_is_a_problem_not_an_error(tmp_path: Path) -> None:
    report = check(section(), tmp_path / "gone")
    assert len(report.problems) == 1 and report.counts == {}
    assert report.text().count("get it from https://") == 8  # each of the paper's sets


def test_test_pairs_that_will_be_made_are_counted(layout: Path) -> None:
    assert check(section(), layout).made == {}
    photographs = FolderSource(kind="folder", path="test/denoise/T", split="test")
    report = check(section(test=photographs), layout)
    assert report.made == {"derain": 1, "dehaze": 1}
    assert "test   derain            1  made of the photographs" in report.text()


def test_a_task_that_only_pairs_can_train_needs_them_in_train_and_test(layout: Path) -> None:
    tasks = {"coded": {"kind": "jpeg"}, "underwater": {"kind": "pairs"}}
    own = DataSection.read({"root": "x", "tasks": tasks, "sources": {"all": {"kind": "mirl"}}}, "params.yaml")
    (layout / "train/derain").rename(layout / "train/underwater")
    report = check(own, layout)
    assert report.counts["train", "underwater"] == 2 and report.made == {"coded": 1}
    assert report.problems == [
        "underwater has no pairs in test, and nothing can make them; name a source of kind `pairs` for it"
    ]
    (layout / "test/derain").rename(layout / "test/underwater")
    assert check(own, layout).sound


Spoil = Callable[[Path, Draw, Save], object]


def small(layout: Path, draw: Draw, save: Save) -> None:
    save(layout / "test/denoise/T/small.png", draw(7, 15, 40))


def twice(layout: Path, draw: Draw, save: Save) -> None:
    save(layout / "train/denoise/BSD/p0.jpg", draw(7))


def pair_twice(layout: Path, draw: Draw, save: Save) -> None:
    save(layout / "train/derain/S/input/derain0.png", draw(7))


def same(layout: Path, draw: Draw, save: Save) -> None:
    for side, ending in (("input", "rainy"), ("target", "gt")):
        save(layout / f"test/derain/S/{side}/derain0_{ending}.png", draw(7))


def long_name(layout: Path, draw: Draw, save: Save) -> None:
    save(layout / f"test/denoise/T/{'x' * 240}.png", draw(7))


def not_utf_8(layout: Path, draw: Draw, save: Save) -> None:
    path = save(layout / "train/denoise/BSD/x.png", draw(7))
    path.rename(path.with_name(os.fsdecode(b"\xff.png")))


def test_a_data_set_that_measures_nothing_is_found_by_the_check(layout: Path) -> None:
    shutil.rmtree(layout / "test")
    (found,) = check(section(), layout).problems
    assert found == "the sources of `data` have no picture of the split test; expected at least one"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (small, r"small.png is 40 x 15, expected at least 16 x 16 of a test picture; remove it$"),
        (twice, r"p0.jpg and .*p0.png would both be called BSD-p0; rename one"),
        (
            pair_twice,
            r"input/derain0.png and .*input/derain0_rainy.png would both be called S-derain0; rename one",
        ),
        (
            same,
            r"derain0_rainy.png and its partner .*derain0_gt.png show the very same pixels, expected .*; replace one",
        ),
        (
            long_name,
            r"would be called T-x*, which has 242 bytes, expected at most 230 beside a task .*; rename it$",
        ),
        (
            not_utf_8,
            r"ff.png has a name that is not UTF-8; rename it$",
        ),
    ],
)
def test_what_would_fail_later_is_found_by_the_check_and_by_prepare(
    layout: Path, draw: Draw, save: Save, spoil: Spoil, sentence: str
) -> None:
    spoil(layout, draw, save)
    (found,) = check(section(), layout).problems
    assert re.search(sentence, found), found
    dest = layout.parent / "prepared"
    dest.mkdir()
    with pytest.raises(UserError, match=sentence):
        prepare(section(), layout, dest)


def test_a_task_without_training_pictures_is_named_unless_it_is_not_trained(layout: Path) -> None:
    shutil.rmtree(layout / "train/denoise")
    untrained = [
        f"denoise_{sigma} has no training pictures, neither clean photographs" for sigma in (15, 25, 50)
    ]
    found = check(section(), layout).problems
    assert [problem.partition(";")[0] for problem in found] == untrained
    assert check(section(), layout, balance={"derain": 1, "dehaze": 1, "denoise_15": 0}).sound


def test_what_is_left_out_as_a_leak_trains_nothing(layout: Path) -> None:
    shutil.rmtree(layout / "train/denoise/BSD")
    shutil.copytree(layout / "test/denoise/T", layout / "train/denoise/BSD")
    left_out = DataSection(root="unused", sources={"all": MirlSource(kind="mirl")}, leaks="leave_out")
    assert [said.split()[0] for said in check(left_out, layout).problems] == [
        "denoise_15",
        "denoise_25",
        "denoise_50",
    ]
    assert check(left_out, layout, patch=81, balance={"denoise_15": 1}).problems == [
        "denoise_15 has no training pictures, neither clean photographs; add some, or leave it out of "
        "`train.batches.balance`"
    ]


def test_only_pictures_of_tasks_that_are_trained_must_hold_a_patch(
    layout: Path, draw: Draw, save: Save
) -> None:
    for side, ending in (("input", "rainy"), ("target", "gt")):
        save(layout / f"train/derain/S/{side}/small_{ending}.png", draw(7 + len(side), 20, 40))
    assert not check(section(), layout).sound
    assert check(section(), layout, balance={"denoise_15": 1}).sound


LAY_OUT = """
import json, sys, types
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import lay_out
wanted = {"bsd400", "derain_test"}  # the rest of the pack would only cost time
entries = json.loads((lay_out.HERE / "manifest.json").read_text())
entries = [entry for entry in entries if wanted & set(entry["roles"])]
lay_out.json = types.SimpleNamespace(loads=lambda text: entries)
lay_out.lay_out(Path(sys.argv[2]), "usual")
"""


@needs_pack
def test_the_leaks_of_the_super_resolution_sets_are_found() -> None:
    """B100 is the part `val` of BSDS500, and "woman" of Set5 a photograph of it that was cut and resized."""
    sources = {
        part: FolderSource(kind="folder", path=f"BSDS500/{part}", split="train")
        for part in ("train", "test", "val")
    }
    sources |= {
        name: FolderSource(kind="folder", path=f"SR/{name}/HR", split="test")
        for name in ("Set5", "Set14", "B100")
    }
    report = check(section(**sources), PACK)
    assert report.problems == []
    found = {Path(leak.test).stem: Path(leak.train).stem for leak in report.leaks}
    assert found.pop("woman") == "302003"
    assert found == {path.stem: path.stem for path in (PACK / "SR/B100/HR").glob("*.png")}
    assert len(report.leaks) == 101


@needs_pack
def test_the_leaks_of_the_usual_protocol_are_found(tmp_path: Path) -> None:
    """67 photographs of BSD400 show pictures of Rain100L: just those that the leak-free split leaves out."""
    subprocess.run([sys.executable, "-c", LAY_OUT, str(PACK), str(tmp_path)], check=True)
    report = check(
        section(
            bsd=FolderSource(kind="folder", path="train/denoise/BSD400", split="train"),
            rain=FolderSource(kind="folder", path="test/derain/Rain100L/target", split="test"),
        ),
        tmp_path,
    )
    assert report.problems == [] and report.counts == {("train", ""): 400, ("test", ""): 100}
    entries = json.loads((PACK / "manifest.json").read_text())
    left_out = {
        Path(entry["file"]).name
        for entry in entries
        if "bsd400" in entry["roles"] and "train_leakfree" not in entry["roles"]
    }
    assert {Path(leak.train).name for leak in report.leaks} == left_out and len(left_out) == 67
