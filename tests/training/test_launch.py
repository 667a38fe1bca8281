"""Several processes that train one network: real ones, over gloo on the CPU."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from mirl.config import Stopped, UserError
from mirl.data.batches import Batch
from mirl.records import NullSink, TrainRecord
from mirl.training import checkpoint, launch
from mirl.training.launch import train
from mirl.training.ranks import GroupBroken
from mirl.training.section import MachineSection
from tests.training.processes import ROOT, in_session
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

TOLERANCE = 1e-5
"""Furthest that a weight of the tiny network lies from that of one process after 40 steps; docs/training.md has more."""


def _rank() -> str:
    return multiprocessing.current_process().name


class Tight(torch.nn.Sequential):
    """The tiny network; the memory of the second process holds one image."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if len(x_BCHW) > 1 and _rank() == "rank 1":
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return super().forward(x_BCHW)


class SlowStream(FakeStream):
    """Slow enough to be stopped in the middle."""

    def samples(self, numbers: range) -> Batch:
        time.sleep(0.05)
        return super().samples(numbers)


class BrokenStream(SlowStream):
    """Fails in the second process at its third step."""

    def samples(self, numbers: range) -> Batch:
        if numbers[0] // BATCH == 2 and _rank() == "rank 1":
            raise ArithmeticError("the sixth sample does not add up")
        return super().samples(numbers)


@dataclass
class Kept:
    """A sink that keeps what it gets."""

    records: list[TrainRecord] = field(default_factory=list)

    def log(self, record: TrainRecord) -> None:
        self.records.append(record)

    def close(self) -> None:
        pass


def _machine(**values: Any) -> MachineSection:
    return MachineSection(**({"threads": 1, "checkpoint_seconds": 0.0, "processes": 2} | values))


def _furthest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def test_two_processes_finish_what_one_began_as_one_would(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    section = make_section(steps=40, rewind_step=10)
    calm = train_tiny(tmp_path / "calm", make_plan(), section)
    alone, kept, unasked = FakeStream(), Kept(), FakeStream()
    with pytest.raises(Stopped, match="after step 7 of 40"):
        train_tiny(tmp_path, make_plan(), section, alone, should_stop=lambda: alone.asked[-1] == 6)
    context = make_context(tmp_path, machine=_machine(), sink=kept)
    together = train(Tight(*make_network().children()), make_plan(), unasked, section, context)
    assert 0 < _furthest(calm.weights, together.weights) < TOLERANCE
    assert 0 < _furthest(calm.origin, together.origin) < TOLERANCE
    assert (together.weights["0.weight"][~make_plan().mask["0.weight"]] == 0).all()
    for ours, theirs in zip(together.history, calm.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert [record.step for record in kept.records] == list(range(10, 41, 5))
    again = train_tiny(tmp_path, make_plan(), section, unasked)
    assert unasked.asked == [] and same(again.weights, together.weights)
    said = capfd.readouterr()
    assert said.out.count("out of memory at step 7; it goes on with 1 images at a time") == 1
    assert "Traceback" not in said.err and not multiprocessing.active_children()


def test_a_killed_process_stops_the_others_and_the_training_can_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Killer(NullSink):
        def log(self, record: TrainRecord) -> None:
            victim = next(child for child in multiprocessing.active_children() if child.name == "rank 1")
            os.kill(victim.pid or 0, signal.SIGKILL)

    context = make_context(tmp_path, machine=_machine(), sink=Killer())
    with pytest.raises(Stopped, match="train: its process 1 was ended by SIGKILL; run it again to go on"):
        train(make_network(), make_plan(), SlowStream(), make_section(steps=1000), context)
    assert not multiprocessing.active_children()
    left = checkpoint.load(context.checkpoint)
    assert left is not None and left.step >= 4
    assert "Traceback" not in capfd.readouterr().err


def test_a_process_that_fails_says_why_and_stops_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    context = make_context(tmp_path, machine=_machine())
    with pytest.raises(
        Stopped, match=r"its process 1 failed \(ArithmeticError: the sixth sample does not add up\)"
    ):
        train(make_network(), make_plan(), BrokenStream(), make_section(steps=1000), context)
    assert not multiprocessing.active_children()
    assert capfd.readouterr().err.count("Traceback") == 1


ENDLESS = """
import sys
from pathlib import Path
from tests.training.test_launch import SlowStream, _machine
from tests.training.tiny import make_context, make_network, make_plan, make_section
from mirl.training.launch import train

if __name__ == "__main__":
    context = make_context(Path(sys.argv[1]), machine=_machine())
    train(make_network(), make_plan(), SlowStream(), make_section(steps=100_000), context)
"""


def test_no_process_outlives_the_one_that_began_it(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as parent:
        try:
            while not (tmp_path / "checkpoint.safetensors").exists():
                assert parent.poll() is None
                time.sleep(0.05)
            assert len(in_session(parent.pid)) >= 3
        finally:
            parent.kill()
    until = time.monotonic() + 10
    while in_session(parent.pid):
        assert time.monotonic() < until, "a process outlives its parent"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("machine", "gpus", "sentence"),
    [
        (
            {"processes": 3},
            0,
            "is 3, which does not share train.batches.batch of 4 evenly; use one of 1, 2, 4",
        ),
        ({"processes": 8}, 0, "is 8, which does not share"),
        ({"processes": 4}, 2, "machine.processes is 4, but torch sees 2 GPUs"),
        ({"processes": 2, "device": "cuda:1"}, 2, "is cuda:1, which is one GPU, but machine.processes is 2"),
        ({"processes": 2, "device": "cuda"}, 0, "torch sees no GPU"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: dict[str, Any], gpus: int, sentence: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(launch, "_train_in_processes", lambda *_: pytest.fail("they have begun"))
    with pytest.raises(UserError, match=sentence):
        train(
            make_network(),
            make_plan(),
            FakeStream(),
            make_section(),
            make_context(tmp_path, machine=_machine(**machine)),
        )


@pytest.fixture
def link() -> Iterator[Connection]:
    """Nothing comes over it."""
    ours, theirs = Pipe()
    with ours, theirs:
        yield ours


TRACEBACK = "Traceback (most recent call last):\n  somewhere\nValueError: no\n"


@pytest.mark.parametrize(
    ("codes", "said", "expected"),
    [
        ([1, 1], [UserError("mend it"), UserError("mend it")], UserError("mend it")),
        ([-9, 1], [None, UserError("mend it")], UserError("mend it")),
        ([1, 1], [TRACEBACK, Stopped("stopped")], Stopped("stopped")),
        ([1, -9], [None, None], Stopped("dense: its process 1 was ended by SIGKILL; run it again to go on")),
        (
            [1, None],
            [TRACEBACK, None],
            Stopped("dense: its process 0 failed (ValueError: no); run it again to go on"),
        ),
        (
            [1, -9],
            [GroupBroken("closed"), None],
            Stopped("dense: its process 1 was ended by SIGKILL; run it again to go on"),
        ),
        (
            [1, 1],
            [GroupBroken("NCCL error:\n no shared memory"), GroupBroken("NCCL error")],
            Stopped(
                "dense: its process 0 does not reach the others (NCCL error: no shared memory); run it again to go on"
            ),
        ),
        ([1, None], [None, None], Stopped("dense: a process has ended; run it again to go on")),
    ],
)
def test_what_ended_a_training_is_said_once(
    tmp_path: Path, link: Any, codes: list[int] | list[Any], said: list[Any] | list[None], expected: Any
) -> None:
    ranks = [
        launch._Rank(
            number=number,
            process=SimpleNamespace(exitcode=code, join=lambda timeout: None),  # type: ignore[arg-type]
            link=link,
            said=words,
        )
        for number, (code, words) in enumerate(zip(codes, said))
    ]
    with pytest.raises(type(expected)) as raised:
        launch._raise_reason(ranks, make_context(tmp_path, title="dense"))
    assert str(raised.value) == str(expected)
