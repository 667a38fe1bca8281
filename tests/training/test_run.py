"""Steps in pieces, for memory, and losses that are read late, for speed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mirl.config import Stopped, UserError
from mirl.training import checkpoint, run
from mirl.training.loop import train
from mirl.training.section import MachineSection
from tests.training.tiny import (
    BATCH,
    FakeStream,
    make_context,
    make_network,
    make_plan,
    make_section,
    same,
    train_tiny,
)


class Small(nn.Sequential):
    """The tiny network on a device whose memory holds `room` images at a time."""

    room: int

    @classmethod
    def of(cls, room: int) -> "Small":
        network = cls(*make_network().children())
        network.room = room
        return network

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if len(x_BCHW) > self.room:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return super().forward(x_BCHW)


def _machine(**values: Any) -> MachineSection:
    return MachineSection(threads=1, checkpoint_seconds=1e9, **values)


def _furthest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_a_batch_in_pieces_is_the_same_training_within_rounding(tmp_path: Path, micro_batch: int) -> None:
    whole = train_tiny(tmp_path / "whole", make_plan(), make_section())
    pieces = train_tiny(tmp_path, make_plan(), make_section(), machine=_machine(micro_batch=micro_batch))
    assert 0 < _furthest(whole.weights, pieces.weights) < 1e-5
    assert [record["loss"] for record in pieces.history] == pytest.approx(
        [record["loss"] for record in whole.history], rel=1e-5
    )


def test_a_piece_as_large_as_the_batch_is_the_batch(tmp_path: Path) -> None:
    whole = train_tiny(tmp_path / "whole", make_plan(), make_section())
    given = train_tiny(tmp_path, make_plan(), make_section(), machine=_machine(micro_batch=BATCH + 1))
    assert same(whole.weights, given.weights)


@pytest.mark.parametrize(("room", "fits"), [(3, 2), (2, 2), (1, 1)])
def test_out_of_memory_the_same_step_is_repeated_in_smaller_pieces(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], room: int, fits: int
) -> None:
    stream = FakeStream()
    trained = train(Small.of(room), make_plan(), stream, make_section(), make_context(tmp_path))
    pieces = train_tiny(tmp_path / "pieces", make_plan(), make_section(), machine=_machine(micro_batch=fits))
    assert same(trained.weights, pieces.weights) and trained.history == pieces.history
    assert stream.asked == list(range(12))
    said = capfd.readouterr().out
    assert said.count("out of memory at step 0") == BATCH // fits // 2
    assert f"it goes on with {fits} images at a time" in said


class Fragmented(Small):
    """Its memory is full once, at the second piece of the first step."""

    pieces = 0

    def forward(self, x_BCHW: Tensor) -> Tensor:
        self.pieces += 1
        self.room = 0 if self.pieces == 2 else BATCH
        return super().forward(x_BCHW)


def test_a_step_that_fails_in_the_middle_leaves_nothing_in_the_gradients(tmp_path: Path) -> None:
    context = make_context(tmp_path, machine=_machine(micro_batch=2))
    trained = train(Fragmented.of(BATCH), make_plan(), FakeStream(), make_section(), context)
    pieces = train_tiny(tmp_path / "pieces", make_plan(), make_section(), machine=_machine(micro_batch=1))
    assert same(trained.weights, pieces.weights)


def test_a_memory_that_holds_not_one_image_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train: the memory of cpu is full .not even one image"):
        train(Small.of(0), make_plan(), FakeStream(), make_section(), make_context(tmp_path))


@pytest.fixture
def read_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are read as seldom as on a GPU."""
    monkeypatch.setitem(run.READ_EVERY, "cpu", run.READ_EVERY["cuda"])


def test_losses_that_are_read_late_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soon = train_tiny(tmp_path / "soon", make_plan(), make_section(steps=30))
    monkeypatch.setitem(run.READ_EVERY, "cpu", 7)
    late = train_tiny(tmp_path, make_plan(), make_section(steps=30))
    assert same(soon.weights, late.weights) and soon.history == late.history


def test_a_loss_that_is_read_late_has_changed_nothing(tmp_path: Path, read_late: None) -> None:
    network = make_network()
    with pytest.raises(UserError, match="step 6: the loss is nan .*photo-24, photo-25, photo-26, photo-27"):
        train(
            network,
            make_plan(),
            FakeStream(poisoned=6),
            make_section(record_every=100),
            make_context(tmp_path),
        )
    stream = FakeStream()
    with pytest.raises(Stopped):
        train_tiny(
            tmp_path / "calm", make_plan(), make_section(), stream, should_stop=lambda: stream.asked[-1] == 5
        )
    calm = checkpoint.load(tmp_path / "calm/checkpoint.safetensors")
    assert calm is not None and same(dict(network.state_dict()), calm.weights)


def test_a_checkpoint_is_not_written_over_by_one_that_follows_a_bad_step(
    tmp_path: Path, read_late: None
) -> None:
    often = MachineSection(threads=1, checkpoint_seconds=0.0)
    with pytest.raises(UserError, match="step 6.*last good checkpoint"):
        train_tiny(tmp_path, make_plan(), make_section(), FakeStream(poisoned=6), machine=often)
    left = checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert left is not None and left.step == 6


def test_a_compiled_network_trains_to_the_same_within_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def compile_(network: nn.Module) -> nn.Module:
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compile_)
    train_tiny(tmp_path, make_plan(), make_section(), machine=_machine(compile=True))
    train_tiny(tmp_path / "not", make_plan(), make_section())
    assert len(compiled) == 1
