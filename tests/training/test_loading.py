"""Batches that are drawn in processes of their own."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mirl.config import Stopped, UserError
from mirl.data.batches import BatchStream
from mirl.data.packed import PackedImages
from mirl.data.prepare import prepare
from mirl.data.sections import BatchSection, DataSection, FolderSource
from mirl.training.loading import BatchSource, LoaderKilled, SampleStream, batches
from mirl.training.loop import train
from mirl.training.process_group import ProcessGroup
from mirl.training.section import MachineSection
from tests.training.processes import ROOT, in_session
from tests.training.tiny import BATCH, make_context, make_network, make_plan, make_section

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> BatchStream:
    folder = tmp_path_factory.mktemp("data")
    for name in ("photographs", "prepared"):
        (folder / name).mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photographs/a.png")
    source = FolderSource(kind="folder", path="photographs", split="train")
    prepare(DataSection(root="x", sources={"a": source}), folder, folder / "prepared")
    return BatchStream(PackedImages(folder / "prepared"), BatchSection(batch=BATCH, patch=16), 3)


def _children() -> set[int]:
    return {child.pid for child in multiprocessing.active_children() if child.pid}


def test_the_batches_are_the_same_whoever_draws_them_and_signals_are_for_the_trainer(
    stream: BatchStream,
) -> None:
    source = BatchSource(stream=stream, batch=BATCH, group=ProcessGroup())
    at_once = batches(source, range(5, 15), MachineSection(), CPU)
    with closing(batches(source, range(5, 15), MachineSection(loaders=1), CPU)) as drawn:
        first = next(drawn)
        (loader,) = _children()
        os.kill(loader, signal.SIGTERM)
        os.kill(loader, signal.SIGINT)
        for ours, theirs in zip(at_once, [first, *drawn], strict=True):
            assert torch.equal(ours.clean_BCHW, theirs.clean_BCHW) and ours.tasks == theirs.tasks
            assert torch.equal(ours.degraded_BCHW, theirs.degraded_BCHW) and ours.images == theirs.images
            assert theirs.degraded_BCHW.is_contiguous(memory_format=torch.channels_last)
    assert not _children()


def test_several_loaders_keep_the_order(stream: BatchStream) -> None:
    source = BatchSource(stream=stream, batch=BATCH, group=ProcessGroup())
    with closing(batches(source, range(1 << 40), MachineSection(loaders=2), CPU)) as drawn:
        for step in range(40):
            assert torch.equal(next(drawn).clean_BCHW, stream.batch(step).clean_BCHW)
    assert not _children()


def test_the_processes_of_a_world_draw_a_whole_batch_between_them(stream: BatchStream) -> None:
    def part(rank: int) -> torch.Tensor:
        source = BatchSource(stream=stream, batch=BATCH, group=ProcessGroup(rank=rank, size=2))
        return next(batches(source, range(7, 8), MachineSection(), CPU)).degraded_BCHW

    assert torch.equal(torch.cat([part(0), part(1)]), stream.batch(7).degraded_BCHW)


def test_a_killed_loader_stops_the_training_which_can_go_on(stream: BatchStream, tmp_path: Path) -> None:
    def kill_one() -> bool:
        for loader in _children():
            os.kill(loader, signal.SIGKILL)
        return False

    machine = MachineSection(threads=1, checkpoint_seconds=0.0, loaders=1)
    context = make_context(tmp_path, machine=machine, should_stop=kill_one)
    with pytest.raises(
        Stopped, match="train: a process that draws its batches was killed; run it again to go on"
    ):
        train(make_network(), make_plan(), stream, make_section(steps=10_000), context)
    assert context.checkpoint.exists() and not _children()


def test_a_loader_that_is_killed_in_the_middle_of_a_batch_is_not_waited_for(stream: BatchStream) -> None:
    """A batch is larger than what a pipe holds, so the loader stands in the middle of its third one."""
    source = BatchSource(stream=stream, batch=64, group=ProcessGroup())
    with closing(batches(source, range(100), MachineSection(loaders=1), CPU)) as drawn:
        assert next(drawn).degraded_BCHW.numel() * 4 > 2**16
        (loader,) = _children()
        time.sleep(0.5)
        os.kill(loader, signal.SIGKILL)
        with pytest.raises(LoaderKilled):
            list(drawn)
    assert not _children()


class Failing:
    """A stream of which nothing can be drawn."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def samples(self, numbers: range) -> None:
        raise self.error


class Unreadable:
    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no stream",)


@pytest.mark.parametrize(
    ("failing", "error", "sentence"),
    [
        (Failing(UserError("the image pack is cut off")), UserError, "^the image pack is cut off$"),
        (Failing(ArithmeticError("odd")), RuntimeError, "(?s)failed:.*in samples.*ArithmeticError: odd"),
        (Unreadable(), RuntimeError, "did not begin; it has said above why"),
    ],
)
def test_a_loader_that_fails_says_why(failing: SampleStream, error: type[Exception], sentence: str) -> None:
    source = BatchSource(stream=failing, batch=BATCH, group=ProcessGroup())
    drawn = batches(source, range(5), MachineSection(loaders=2), CPU)
    with pytest.raises(error, match=sentence):
        next(drawn)
    assert not _children()


ENDLESS = """
import sys
from pathlib import Path
import torch
from mirl.data.batches import BatchStream
from mirl.data.packed import PackedImages
from mirl.data.sections import BatchSection
from mirl.training.loading import BatchSource, batches
from mirl.training.section import MachineSection
from mirl.training.process_group import ProcessGroup

if __name__ == "__main__":
    stream = BatchStream(PackedImages(Path(sys.argv[1])), BatchSection(batch=4, patch=16), 3)
    source = BatchSource(stream=stream, batch=4, group=ProcessGroup())
    for pair in batches(source, range(1 << 40), MachineSection(loaders=1), torch.device("cpu")):
        print("drawn", flush=True)
"""


def test_loaders_end_when_their_trainer_is_killed(stream: BatchStream, tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    command = [sys.executable, str(script), str(stream.__reduce__()[1][0].folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as trainer:
        assert trainer.stdout is not None and trainer.stdout.readline() == "drawn\n"
        trainer.kill()
    until = time.monotonic() + 30
    while in_session(trainer.pid):
        assert time.monotonic() < until, "a loader outlives its trainer"
        time.sleep(0.1)
