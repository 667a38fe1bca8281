from pathlib import Path

from mirl.data import made_up
from mirl.data.batches import BatchStream
from mirl.data.packed import PackedImages
from mirl.data.prepare import prepare
from mirl.data.sections import BatchSection, DataSection
from mirl.data.tasks import DEFAULT_SECTIONS


def test_the_five_tasks_need_photographs_alone(tmp_path: Path) -> None:
    section = made_up.section(DEFAULT_SECTIONS)
    assert list(section.sources) == ["train", "test"]
    made_up.write(section, tmp_path, 32)
    assert sorted(path.stem for path in tmp_path.rglob("*.png")) == ["one", "three", "two"]


def test_a_task_of_pairs_has_some_in_train_and_test(tmp_path: Path) -> None:
    values = {"root": "x", "sources": {"a": {"kind": "skimage"}}, "tasks": {"own": {"kind": "pairs"}}}
    section = made_up.section(DataSection.read(values, "params.yaml").tasks)
    made_up.write(section, tmp_path, 32)
    (tmp_path / "d").mkdir()
    prepare(section, tmp_path, tmp_path / "d")
    packed = PackedImages(tmp_path / "d")
    assert [item.image for item in packed.items("train", "own")] == ["train-one", "train-two"]
    assert len(packed.items("test", "own")) == 1
    assert set(BatchStream(packed, BatchSection(patch=32), 0).batch(0).tasks) == {"own"}
