import csv
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from mirl.config import UserError
from mirl.data.importers import IMPORTERS, folder, mirl_layout, pairs, skimage_photographs
from mirl.data.sections import FolderSource, MirlSource, PairsSource, SkimageSource, Source
from mirl.data.tasks import DEFAULT, DEFAULT_SECTIONS, table
from mirl.data.tasks.pairs import OwnPairsSection
from tests.data.conftest import Draw, Save

DEMO = Path(__file__).parents[2] / "data/demo"
SCENES = {"motorcycle_left.png": "motorcycle", "motorcycle_right.png": "motorcycle"}


def test_every_kind_of_source_has_an_importer() -> None:
    kinds = {model.model_fields["kind"].annotation.__args__[0] for model in get_args(get_args(Source)[0])}
    assert kinds == set(IMPORTERS)


def test_scikit_images_photographs_have_the_pixels_that_the_table_names() -> None:
    entries = skimage_photographs(SkimageSource(kind="skimage"), DEMO, DEFAULT)
    for entry in entries:
        pixels = entry.clean.read()
        assert pixels.dtype == np.uint8 and min(pixels.shape[:2]) >= 128, entry.name
    assert {entry.split for entry in entries} == {"train", "test"}


def test_no_scene_of_the_demo_stands_in_both_train_and_test() -> None:
    rows = list(csv.DictReader((DEMO / "photographs.csv").open()))
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(SCENES.get(row["photograph"], row["photograph"]), set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values()), splits


def test_the_measured_depth_fits_its_photograph() -> None:
    measured = [
        entry for entry in skimage_photographs(SkimageSource(kind="skimage"), DEMO, DEFAULT) if entry.depth
    ]
    assert measured
    depths = [entry.depth() for entry in measured if entry.depth]
    for entry, depth in zip(measured, depths, strict=True):
        assert depth.shape == entry.clean.read().shape[:2] and depth.dtype == np.float32
        assert 0 < depth.min() < depth.max() <= 1
    # In the garage the wall behind (top) is farther than the floor in front (bottom).
    assert depths[0][:100].mean() > 1.5 * depths[0][-100:].mean()


def test_other_pixels_than_the_tables_are_refused(tmp_path: Path) -> None:
    text = (DEMO / "photographs.csv").read_text().splitlines()
    (tmp_path / "photographs.csv").write_text("\n".join([text[0], text[1][:-4] + "0000"]))
    (entry,) = skimage_photographs(SkimageSource(kind="skimage"), tmp_path, DEFAULT)
    with pytest.raises(UserError, match=r"expected .*0000; install the scikit-image"):
        entry.clean.read()
    with pytest.raises(UserError, match="does not exist"):
        skimage_photographs(SkimageSource(kind="skimage"), tmp_path / "gone", DEFAULT)


def test_a_folder_is_clean_photographs(tmp_path: Path, draw: Draw, save: Save) -> None:
    save(tmp_path / "holiday/one.png", draw(1))
    (entry,) = folder(FolderSource(kind="folder", path="holiday", split="train"), tmp_path, DEFAULT)
    assert (entry.name, entry.split, entry.task, entry.degraded) == ("holiday-one", "train", "", None)
    assert np.array_equal(entry.clean.read(), draw(1))


@pytest.mark.parametrize(
    ("degraded", "clean", "task"),
    [
        ("7_rainy.png", "7_gt.png", "derain"),
        ("7.png", "7.png", "derain"),
        ("7_hazy.png", "7_clean.jpg", "dehaze"),
        ("0007_0.8_0.12.png", "0007.png", "dehaze"),
    ],
)
def test_partners_find_each_other_by_name(
    tmp_path: Path, draw: Draw, save: Save, degraded: str, clean: str, task: str
) -> None:
    save(tmp_path / "input" / degraded, draw(1))
    save(tmp_path / "target" / clean, draw(2))
    (entry,) = pairs(_paired(task), tmp_path, DEFAULT)
    assert not entry.lost and entry.degraded
    assert Path(entry.degraded.where).name == degraded and Path(entry.clean.where).name == clean


def test_several_hazy_pictures_may_share_one_clear_partner(tmp_path: Path, draw: Draw, save: Save) -> None:
    for name in ("1_0.8_0.1.png", "1_0.9_0.2.png"):
        save(tmp_path / "input" / name, draw(1))
    save(tmp_path / "target/1.png", draw(2))
    assert [entry.lost for entry in pairs(_paired("dehaze"), tmp_path, DEFAULT)] == ["", ""]


@pytest.mark.parametrize("lonely", ["input/2_rainy.png", "target/2_gt.png"])
def test_a_file_without_partner_is_lost_by_name(tmp_path: Path, draw: Draw, save: Save, lonely: str) -> None:
    save(tmp_path / "input/1_rainy.png", draw(1))
    save(tmp_path / "target/1_gt.png", draw(1))
    save(tmp_path / lonely, draw(2))
    lost = [entry.lost for entry in pairs(_paired("derain"), tmp_path, DEFAULT) if entry.lost]
    assert len(lost) == 1 and f"{lonely} has no partner in" in lost[0]


def test_the_authors_layout_is_found_whole(layout: Path) -> None:
    entries = mirl_layout(MirlSource(kind="mirl"), layout, DEFAULT)
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        counts[entry.split, entry.task] = counts.get((entry.split, entry.task), 0) + 1
    assert counts == {
        ("train", ""): 3, ("train", "derain"): 2, ("train", "dehaze"): 2, ("val", ""): 1,
        ("test", ""): 1, ("test", "derain"): 1, ("test", "dehaze"): 1,
    }  # fmt: skip
    assert "S-derain0" in {entry.name for entry in entries}


def test_the_layout_has_a_folder_for_every_paired_task_of_the_study(layout: Path) -> None:
    tasks = table({"underwater": OwnPairsSection(kind="pairs"), "dehaze": DEFAULT_SECTIONS["dehaze"]})
    for split in ("train", "test"):
        (layout / split / "derain").rename(layout / split / "underwater")
    found = {(entry.split, entry.task) for entry in mirl_layout(MirlSource(kind="mirl"), layout, tasks)}
    assert found == {
        ("train", ""), ("val", ""), ("test", ""),
        ("train", "underwater"), ("test", "underwater"), ("train", "dehaze"), ("test", "dehaze"),
    }  # fmt: skip


def test_names_of_reside_belong_to_haze_alone(tmp_path: Path, draw: Draw, save: Save) -> None:
    save(tmp_path / "input/0007_0.8_0.12.png", draw(1))
    save(tmp_path / "target/0007.png", draw(2))
    assert all(entry.lost for entry in pairs(_paired("derain"), tmp_path, DEFAULT))


def test_a_folder_in_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="has no train/denoise/SET, train/derain/SET or train/dehaze/SET; expected"
    ):
        mirl_layout(MirlSource(kind="mirl"), tmp_path, DEFAULT)


def _paired(task: str) -> PairsSource:
    return PairsSource(kind="pairs", input="input", target="target", split="train", task=task)
