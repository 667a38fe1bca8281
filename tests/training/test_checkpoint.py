from pathlib import Path

import pytest
import torch

from mirl.config import UserError
from mirl.tickets.container import save_sealed
from mirl.training import checkpoint
from mirl.training.checkpoint import Progress


def _progress(step: int) -> Progress:
    return Progress(
        step=step,
        made_with="cpu in float32",
        weights={"a.weight": torch.randn(3, 4), "a.bias": torch.zeros(3)},
        moments={"first.a.weight": torch.rand(3, 4)},
        origin={"a.weight": torch.ones(3, 4)},
        stopping_state={"masks": torch.ones(2, 5, dtype=torch.uint8)},
        stopped_early=True,
        history=[{"step": 5, "loss": 0.1}],
        loss_sum=0.1 + 0.2,
        train_seconds=1.5,
        train_joules=41.5,
    )


def test_what_is_saved_is_loaded_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    saved = _progress(7)
    checkpoint.save(saved, path)
    loaded = checkpoint.load(path)
    assert loaded is not None
    assert (loaded.step, loaded.history, loaded.loss_sum) == (7, saved.history, saved.loss_sum)
    assert loaded.stopped_early
    assert (loaded.train_seconds, loaded.train_joules) == (1.5, 41.5)
    for group in ("weights", "moments", "origin", "stopping_state"):
        ours, theirs = getattr(saved, group), getattr(loaded, group)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_one_of_before_the_joules_were_counted_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with monkeypatch.context() as patch:
        older = {key: own for key, own in checkpoint.PLAIN.items() if key != "train_joules"}
        patch.setattr(checkpoint, "PLAIN", older)
        checkpoint.save(_progress(7), path)
    loaded = checkpoint.load(path)
    assert loaded is not None and loaded.step == 7 and loaded.train_joules is None


def test_the_names_in_the_file_are_those_of_former_versions(tmp_path: Path) -> None:
    path, masks = tmp_path / "checkpoint.safetensors", torch.tensor([[3, 5]], dtype=torch.uint8)
    header = {
        "step": 7, "made_with": "cpu in float32", "ended": True, "history": [], "loss_sum": 0.5,
        "train_seconds": 1.5, "train_joules": None,
    }  # fmt: skip
    tensors = {"weights.a": torch.ones(3), "watched.masks": masks}
    save_sealed(path, checkpoint.KIND, header, tensors)  # as mirl wrote it before the fields were renamed
    before = path.read_bytes()
    loaded = checkpoint.load(path)
    assert loaded is not None and loaded.stopped_early
    assert torch.equal(loaded.stopping_state["masks"], masks)
    checkpoint.save(loaded, path)
    assert path.read_bytes() == before


def test_none_where_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "checkpoint.safetensors") is None


def test_a_failed_write_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(_progress(7), path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mirl.files.os.fsync", full)
    with pytest.raises(UserError, match="No space left on device; mend that and run it again"):
        checkpoint.save(_progress(8), path)
    loaded = checkpoint.load(path)
    assert loaded is not None and loaded.step == 7
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("cut", [0, 5, 200, -1])
def test_a_truncated_one_is_refused_in_words(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(_progress(7), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="or delete it, to start this training anew"):
        checkpoint.load(path)
