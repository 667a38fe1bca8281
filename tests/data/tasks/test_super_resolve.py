from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mirl.config import UserError
from mirl.data import made_up
from mirl.data.batches import BatchStream
from mirl.data.bicubic import cut_to_multiple, enlarged, reduced
from mirl.data.check import check
from mirl.data.packed import PackedImages
from mirl.data.prepare import prepare
from mirl.data.sections import BatchSection, DataSection
from tests.data.conftest import Draw, Save

SCALES = [2, 3, 4]


def section(scale: int = 4, **changes: Any) -> DataSection:
    """Photographs to train on, and a test set in the layout of the published ones."""
    folder = f"Set/LR_bicubic/X{scale}"
    values = {
        "root": "x",
        "tasks": {"set": {"kind": "super_resolve", "scale": scale}},
        "sources": {
            "train": {"kind": "folder", "path": "photographs", "split": "train"},
            "set": {"kind": "pairs", "input": folder, "target": "Set/HR", "split": "test", "task": "set"},
        },
    }
    return DataSection.read(values | changes, "params.yaml")


@pytest.fixture
def root(tmp_path: Path, draw: Draw, save: Save) -> Path:
    """Pictures whose sides no scale divides."""
    for seed in range(3):
        save(tmp_path / f"photographs/p{seed}.png", draw(seed, 131, 142))
    for seed, name in ((11, "baby"), (12, "max2")):
        pixels = save_large(tmp_path, name, draw(seed, 89, 101), save)
        for scale in SCALES:
            small = reduced(cut_to_multiple(pixels, scale), scale)
            save(tmp_path / f"Set/LR_bicubic/X{scale}/{name}x{scale}.png", small)
    return tmp_path


def save_large(root: Path, name: str, pixels: np.ndarray, save: Save) -> np.ndarray:
    save(root / f"Set/HR/{name}.png", pixels)
    return pixels


def prepared(root: Path, given: DataSection) -> PackedImages:
    dest = root / "prepared"
    dest.mkdir()
    prepare(given, root, dest)
    return PackedImages(dest)


@pytest.mark.parametrize("scale", SCALES)
def test_a_published_test_set_is_read_in_its_own_layout(root: Path, scale: int, draw: Draw) -> None:
    packed = prepared(root, section(scale))
    packed.verify()
    items = packed.items("test", "set")
    assert [item.image for item in items] == [f"X{scale}-babyx{scale}", f"X{scale}-max2x{scale}"]
    for item, seed in zip(items, (11, 12)):
        assert item.degraded is not None
        clean = cut_to_multiple(draw(seed, 89, 101), scale)
        assert np.array_equal(packed.image(item.clean), clean)
        assert np.array_equal(packed.image(item.degraded), reduced(clean, scale))


def test_a_study_without_test_pairs_gets_those_that_matlab_would_make(root: Path, draw: Draw) -> None:
    photographs = {
        split: {"kind": "folder", "path": path, "split": split}
        for split, path in (("train", "photographs"), ("test", "Set/HR"))
    }
    made = prepared(root, section(3, sources=photographs))
    (item, _) = made.items("test", "set")
    assert item.degraded is not None
    clean = cut_to_multiple(draw(11, 89, 101), 3)
    assert np.array_equal(made.image(item.degraded), reduced(clean, 3))
    assert np.array_equal(made.image(item.clean), clean)


def test_training_patches_are_reduced_from_places_on_the_grid(root: Path) -> None:
    packed = prepared(root, section(3))
    stream = BatchStream(packed, BatchSection(batch=20, patch=16), seed=0)
    batch = stream.batch(0)
    assert batch.degraded_BCHW.shape == (20, 3, 16, 16) and batch.clean_BCHW.shape == (20, 3, 48, 48)
    for degraded, clean in zip(batch.degraded_BCHW, batch.clean_BCHW):
        pixels = np.rint(clean.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        small = np.rint(degraded.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        assert np.array_equal(reduced(pixels, 3), small)
    with pytest.raises(UserError, match="smaller than the training patch of 132 x 132"):
        BatchStream(packed, BatchSection(patch=44), seed=0)


def test_a_part_of_a_small_picture_lies_at_the_same_place_of_the_large_one(root: Path) -> None:
    both = section(4).model_dump(exclude_defaults=True)
    both["sources"]["set"]["split"] = "train"
    packed = prepared(root, DataSection.read(both, "params.yaml"))
    batch = BatchStream(packed, BatchSection(batch=20, patch=12), seed=0).batch(0)
    assert set(batch.images) == {"X4-babyx4", "X4-max2x4"}
    for degraded, clean in zip(batch.degraded_BCHW, batch.clean_BCHW):
        guess = enlarged(degraded.permute(1, 2, 0).numpy(), 4)[12:-12, 12:-12]
        right = clean.permute(1, 2, 0).numpy()[12:-12, 12:-12]
        assert np.sqrt(np.mean((guess - right) ** 2)) < 0.02
        assert np.sqrt(np.mean((guess[:, ::-1] - right) ** 2)) > 0.04  # another place or way round


def test_tasks_of_two_scales_take_turns_batch_by_batch(root: Path) -> None:
    tasks = {name: {"kind": "super_resolve", "scale": int(name[1])} for name in ("x2", "x4")}
    sources = {"train": {"kind": "folder", "path": "photographs", "split": "train"}}
    packed = prepared(root, section(tasks=tasks, sources=sources))
    both = BatchStream(packed, BatchSection(batch=4, patch=16, balance={"x2": 2, "x4": 1}), seed=0)
    batches = [both.batch(step) for step in range(6)]
    assert [batch.tasks for batch in batches] == [[task] * 4 for task in ("x2", "x2", "x4", "x2", "x2", "x4")]
    assert [batch.clean_BCHW.shape[-1] for batch in batches] == [32, 32, 64, 32, 32, 64]
    assert {batch.degraded_BCHW.shape for batch in batches} == {(4, 3, 16, 16)}
    share = both.samples(range(10, 12))  # of the second process of two
    assert torch.equal(share.clean_BCHW, batches[2].clean_BCHW[2:])
    with pytest.raises(UserError, match="smaller than the training patch of 160 x 160"):
        BatchStream(packed, BatchSection(patch=40), seed=0)
    one = BatchStream(packed, BatchSection(patch=16, balance={"x2": 1}), seed=0)
    assert one.batch(0).clean_BCHW.shape[-1] == 32


def test_pairs_that_do_not_fit_by_the_scale_are_named(root: Path, draw: Draw, save: Save) -> None:
    assert check(section(), root, patch=16).sound
    save(root / "Set/LR_bicubic/X4/babyx4.png", draw(1, 22, 24))
    wrong = "babyx4.png is 24 x 22 but its partner .*baby.png is 100 x 88; expected 4 times the size"
    (problem,) = check(section(), root, patch=16).problems
    with pytest.raises(UserError, match=wrong) as caught:
        prepared(root, section())
    assert str(caught.value) == problem


def test_a_photograph_that_holds_no_large_patch_is_named(root: Path) -> None:
    assert "smaller than the training patch of 256 x 256" in check(section(), root).problems[0]


def test_a_test_picture_is_too_small_if_what_it_is_reduced_to_is(root: Path, draw: Draw, save: Save) -> None:
    large = save_large(root, "tiny", draw(13, 60, 101), save)
    save(root / "Set/LR_bicubic/X4/tinyx4.png", reduced(cut_to_multiple(large, 4), 4))
    (found,) = check(section(), root, patch=16).problems
    assert "tiny.png is 100 x 60, expected at least 64 x 64 of a test picture" in found


def test_what_leaks_is_found_at_any_cut(root: Path, draw: Draw, save: Save) -> None:
    save(root / "photographs/again.png", draw(12, 89, 101))
    (leak,) = check(section(), root, patch=16).leaks
    assert leak.train.endswith("again.png") and leak.test.endswith("max2.png")


def test_a_dry_run_makes_up_photographs_alone(tmp_path: Path) -> None:
    data = made_up.section(section().tasks)
    made_up.write(data, tmp_path, 160)
    batch = BatchStream(prepared(tmp_path, data), BatchSection(batch=1, patch=40), seed=0).batch(0)
    assert batch.clean_BCHW.shape == (1, 3, 160, 160)


@pytest.mark.parametrize("scale", [1, 5, 2.5])
def test_a_scale_is_2_3_or_4(scale: float) -> None:
    with pytest.raises(UserError, match="scale"):
        section(scale)  # type: ignore[arg-type]
