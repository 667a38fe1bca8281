import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirl.config import UserError
from mirl.data.packed import PackedImages
from mirl.data.prepare import prepare
from mirl.data.sections import DataSection, MirlSource, PairsSource
from tests.data.conftest import Draw, Save


def section(**changes: Any) -> DataSection:
    return DataSection(**{"root": "unused", "sources": {"all": MirlSource(kind="mirl")}, **changes})


def prepared(root: Path, dest: Path, **changes: Any) -> PackedImages:
    dest.mkdir()
    prepare(section(**changes), root, dest)
    return PackedImages(dest)


def test_every_picture_arrives_in_its_split_and_task(layout: Path, tmp_path: Path, draw: Draw) -> None:
    packed = prepared(layout, tmp_path / "d")
    packed.verify()
    counts = packed.manifest.groupby(["split", "task", "role"]).size().to_dict()
    assert counts == {
        ("train", "", "clean"): 3, ("val", "", "clean"): 1, ("test", "", "clean"): 1,
        ("train", "derain", "clean"): 2, ("train", "derain", "degraded"): 2,
        ("train", "dehaze", "clean"): 2, ("train", "dehaze", "degraded"): 2,
        ("test", "derain", "clean"): 1, ("test", "derain", "degraded"): 1,
        ("test", "dehaze", "clean"): 1, ("test", "dehaze", "degraded"): 1,
    }  # fmt: skip
    (item,) = packed.items("test", "denoise_15")
    assert np.array_equal(packed.image(item.clean), draw(50))


def test_same_input_same_bytes(layout: Path, tmp_path: Path) -> None:
    digests = []
    for name in "ab":
        prepared(layout, tmp_path / name)
        files = sorted((tmp_path / name).iterdir())
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1] and len(digests[0]) == 2


def test_what_is_prepared_of_the_five_tasks_is_pinned(layout: Path, tmp_path: Path) -> None:
    """With pairs from files, and with the test pairs that are made: a change renames every study's data."""
    found = [prepared(layout, tmp_path / "given").digest]
    for task in ("derain", "dehaze"):
        shutil.rmtree(layout / "test" / task)
    found.append(prepared(layout, tmp_path / "made").digest)
    assert found == [
        "aca2cc8626a59a02adb2ca1f8399928e90402622bdd05c5ffc8399c26285b808",
        "7690de6a6fc6d13cc326ee25a4a3d22b91f265bb90743b62526bae8039442360",
    ]


def test_other_pixels_another_digest(layout: Path, tmp_path: Path, draw: Draw, save: Save) -> None:
    before = prepared(layout, tmp_path / "a").digest
    save(layout / "train/denoise/BSD/p0.png", draw(99))
    assert prepared(layout, tmp_path / "b").digest != before


def test_test_pairs_are_made_once_where_there_are_none(
    layout: Path, tmp_path: Path, draw: Draw, save: Save
) -> None:
    shutil.rmtree(layout / "test/derain")
    save(layout / "test/denoise/T/u.png", draw(50))  # the same pixels under another name
    first, second = (prepared(layout, tmp_path / name) for name in "ab")
    made, again = first.items("test", "derain"), second.items("test", "derain")
    assert [item.image for item in made] == ["T-t", "T-u"] and made == again
    rains = []
    for item in made:
        assert item.degraded is not None
        assert np.array_equal(first.image(item.clean), draw(50))
        rain = first.image(item.degraded).astype(float) - first.image(item.clean)
        assert rain.min() >= -1 and rain.max() > 10
        rains.append(rain)
        assert np.array_equal(first.image(item.degraded), second.image(item.degraded))
    assert not np.array_equal(*rains), "every name has its own rain"
    assert [item.image for item in first.items("test", "dehaze")] == [
        "S-dehaze0"
    ]  # the real pair, not made ones
    assert prepared(layout, tmp_path / "c", synthesise=[]).items("test", "derain") == []


def test_pairs_of_different_size_are_refused_with_both_sizes(
    layout: Path, tmp_path: Path, draw: Draw, save: Save
) -> None:
    save(layout / "train/derain/S/input/derain0_rainy.png", draw(1, 80, 99))
    with pytest.raises(UserError, match=r"derain0_rainy\.png is 99 x 80 but its partner .* is 100 x 80"):
        prepared(layout, tmp_path / "d")


def test_a_missing_partner_is_refused_before_anything_is_written(layout: Path, tmp_path: Path) -> None:
    (layout / "train/derain/S/target/derain1_gt.png").unlink()
    with pytest.raises(UserError, match=r"derain1_rainy\.png has no partner"):
        prepared(layout, tmp_path / "d")
    assert list((tmp_path / "d").iterdir()) == []


def test_a_broken_picture_is_refused_by_name(layout: Path, tmp_path: Path) -> None:
    path = layout / "train/denoise/BSD/p1.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"p1\.png is"):
        prepared(layout, tmp_path / "d")


def test_missing_and_empty_folders_are_refused(layout: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone is not a folder"):
        prepared(layout / "gone", tmp_path / "a")
    (layout / "train/denoise/EMPTY").mkdir()
    with pytest.raises(UserError, match=r"EMPTY has no image files"):
        prepared(layout, tmp_path / "b")


def test_a_study_without_training_pictures_is_refused(layout: Path, tmp_path: Path) -> None:
    pairs = PairsSource(
        kind="pairs", input="test/derain/S/input", target="test/derain/S/target", split="test", task="derain"
    )
    with pytest.raises(UserError, match="no picture of the split train"):
        prepared(layout, tmp_path / "d", sources={"only": pairs})


def test_two_pictures_of_one_name_are_refused(layout: Path, tmp_path: Path, draw: Draw, save: Save) -> None:
    save(layout / "train/denoise/BSD/p0.jpg", draw(60))
    with pytest.raises(UserError, match="would both be called BSD-p0"):
        prepared(layout, tmp_path / "d")


def test_a_picture_in_train_and_test_is_refused_left_out_or_allowed(
    layout: Path, tmp_path: Path, draw: Draw, save: Save
) -> None:
    save(layout / "train/denoise/BSD/p9.png", draw(50))
    save(layout / "train/dehaze/S/target/dehaze0_gt.png", draw(50))
    with pytest.raises(UserError, match=r"2 pictures of train stand in test too: .*p9\.png is .*t\.png"):
        prepared(layout, tmp_path / "a")
    with pytest.warns(UserWarning, match="left out of training"):
        packed = prepared(layout, tmp_path / "b", leaks="leave_out")
    assert "BSD-p9" not in set(packed.manifest["image"])
    assert [item.image for item in packed.items("train", "dehaze")] == ["S-dehaze1"]
    with pytest.warns(UserWarning, match="trained on all the same"):
        packed = prepared(layout, tmp_path / "c", leaks="allow")
    assert "BSD-p9" in set(packed.manifest["image"])


def test_progress_reaches_the_end(layout: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    told = []
    prepare(section(), layout, tmp_path / "d", lambda done, total: told.append((done, total)))
    assert told == [(n, 11) for n in range(1, 12)]


def test_the_tasks_of_a_study_come_with_its_data(layout: Path, tmp_path: Path, draw: Draw) -> None:
    own = {"underwater": {"kind": "pairs"}, "coded": {"kind": "jpeg", "quality": [20, 20]}}
    pairs = {
        "kind": "pairs",
        "input": "test/derain/S/input",
        "target": "test/derain/S/target",
        "split": "test",
    }
    values = {
        "root": "unused",
        "tasks": own,
        "sources": {
            "all": {"kind": "folder", "path": "train/denoise/BSD", "split": "train"},
            "test": {"kind": "folder", "path": "test/denoise/T", "split": "test"},
            "own": pairs | {"task": "underwater"},
        },
    }
    read = DataSection.read(values, "params.yaml")
    changes: dict[str, Any] = {"tasks": read.tasks, "sources": read.sources}
    packed = prepared(layout, tmp_path / "d", **changes)
    packed.verify()
    assert list(packed.tasks) == ["underwater", "coded"] and not packed.tasks["underwater"].training
    assert [item.image for item in packed.items("test", "underwater")] == ["S-derain0"]
    (made,) = packed.items("test", "coded")
    assert np.array_equal(packed.image(made.clean), draw(50))
    assert made.degraded is not None
    assert np.array_equal(packed.image(made.degraded), packed.tasks["coded"].test_input("T-t", draw(50)))
    others = []
    for number, changed in enumerate(({"quality": (30, 60)}, {"quality": (20, 20)})):
        tasks = changes["tasks"] | {"coded": changes["tasks"]["coded"].model_copy(update=changed)}
        again = prepared(layout, tmp_path / str(number), **changes | {"tasks": tasks, "synthesise": []})
        others.append(again.digest)
    assert len({packed.digest, *others}) == 3, (
        "tasks count in the digest also if no test picture hangs on them"
    )


def test_the_default_tasks_leave_no_trace(layout: Path, tmp_path: Path) -> None:
    named = section(tasks=dict(section().tasks))
    prepared(layout, tmp_path / "a")
    (tmp_path / "b").mkdir()
    prepare(named, layout, tmp_path / "b")
    for file in ("manifest.parquet", "pixels.arrow"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert b"mirl.tasks" not in (tmp_path / "a/manifest.parquet").read_bytes()
