"""Trains a tiny network; every test is about what must hold exactly."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mirl.config import Stopped, UserError
from mirl.methods.plan import Plan
from mirl.records import NullSink, TrainRecord
from mirl.sparsity.mask import Mask, State
from mirl.training import checkpoint
from mirl.training.loop import Surroundings, train
from mirl.training.section import MachineSection, TrainSection


@dataclass(frozen=True)
class FakeBatch:
    degraded_BCHW: torch.Tensor
    clean_BCHW: torch.Tensor
    images: list[str]


class FakeStream:
    """Batches that are a function of the step, like the real stream; one of them can be poisoned."""

    def __init__(self, poisoned: int | None = None) -> None:
        self.poisoned = poisoned
        self.asked: list[int] = []

    def batch(self, step: int) -> FakeBatch:
        self.asked.append(step)
        clean_BCHW = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        degraded_BCHW = clean_BCHW + (math.nan if step == self.poisoned else 0.1)
        return FakeBatch(degraded_BCHW, clean_BCHW, [f"photo-{step}"])


def _network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 1))


def _state() -> State:
    return {name: tensor.clone() for name, tensor in _network().state_dict().items()}


def _plan(start_step: int = 0, origin: State | None = None, **more: object) -> Plan:
    keep = torch.rand(6, 3, 3, 3, generator=torch.Generator().manual_seed(1)) > 0.5
    mask = Mask({"0.weight": keep})
    return Plan(start=mask.apply(_state()), mask=mask, start_step=start_step, origin=origin, **more)


def _section(**values: object) -> TrainSection:
    return TrainSection(**({"steps": 12, "learning_rate": 0.01, "record_every": 5} | values))


def _around(folder: Path, **more: object) -> Surroundings:
    folder.mkdir(exist_ok=True)
    defaults = {"sink": NullSink(), "machine": MachineSection(threads=1, checkpoint_seconds=1e9)}
    return Surroundings(checkpoint=folder / "checkpoint.safetensors", **(defaults | more))


def _train(
    folder: Path, plan: Plan, section: TrainSection, stream: FakeStream | None = None, **around: object
):
    return train(_network(), plan, stream or FakeStream(), section, _around(folder, **around))


def _same(ours: State, theirs: State) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_mask_holds_and_everything_else_learns(tmp_path):
    plan = _plan()
    trained = _train(tmp_path, plan, _section())
    assert (trained.weights["0.weight"][~plan.mask["0.weight"]] == 0).all()
    for name, start in plan.start.items():
        assert not torch.equal(trained.weights[name], start)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


def test_twice_gives_the_same_bytes(tmp_path):
    first = _train(tmp_path / "a", _plan(), _section())
    second = _train(tmp_path / "b", _plan(), _section())
    assert _same(first.weights, second.weights)


@pytest.mark.parametrize("stop_after", [1, 4, 5, 11])
def test_stopped_anywhere_it_resumes_to_the_same_bytes(tmp_path, stop_after):
    calm = _train(tmp_path / "calm", _plan(), _section(rewind_step=3))
    stream = FakeStream()
    with pytest.raises(Stopped, match=f"after step {stop_after} of 12; run it again"):
        _train(
            tmp_path,
            _plan(),
            _section(rewind_step=3),
            stream,
            should_stop=lambda: len(stream.asked) == stop_after,
        )
    again = FakeStream()
    resumed = _train(tmp_path, _plan(), _section(rewind_step=3), again)
    assert again.asked == list(range(stop_after, 12))
    assert _same(resumed.weights, calm.weights)
    assert _same(resumed.origin, calm.origin)
    assert resumed.history == calm.history


def test_the_origin_is_the_complete_state_at_the_rewind_step(tmp_path):
    at_start = _train(tmp_path / "a", _plan(), _section())
    assert _same(at_start.origin, _plan().start)
    later = _train(tmp_path / "b", _plan(), _section(rewind_step=4))
    assert later.origin.keys() == later.weights.keys()
    assert not _same(later.origin, at_start.origin)
    assert not _same(later.origin, later.weights)


def test_a_round_begins_at_its_start_step_and_keeps_the_origin_it_was_given(tmp_path):
    origin = _state()
    stream = FakeStream()
    trained = _train(tmp_path, _plan(start_step=4, origin=origin), _section(rewind_step=4), stream)
    assert stream.asked == list(range(4, 12))
    assert trained.steps == 8
    assert _same(trained.origin, origin)
    assert [record["step"] for record in trained.history] == [5, 10, 12]


def test_frozen_parameters_do_not_move(tmp_path):
    frozen = {"0.bias": torch.ones(6, dtype=torch.bool), "2.weight": torch.ones(3, 6, 1, 1, dtype=torch.bool)}
    plan = _plan(frozen=frozen)
    trained = _train(tmp_path, plan, _section())
    for name in frozen:
        assert torch.equal(trained.weights[name], plan.start[name])


def test_a_loss_that_is_not_finite_names_the_step_the_images_and_the_checkpoint(tmp_path):
    section, often = _section(), MachineSection(threads=1, checkpoint_seconds=0.0)
    with pytest.raises(
        UserError, match=r"step 6: the loss is nan.*photo-6.*last good checkpoint is .*safetensors"
    ):
        _train(tmp_path, _plan(), section, FakeStream(poisoned=6), machine=often)
    healed = FakeStream()
    _train(tmp_path, _plan(), section, healed, machine=often)
    assert healed.asked[0] == 6


def test_a_training_goes_on_only_where_it_began(tmp_path):
    stream = FakeStream()
    with pytest.raises(Stopped):
        _train(tmp_path, _plan(), _section(), stream, should_stop=lambda: len(stream.asked) == 3)
    with pytest.raises(
        UserError, match="began on cpu in float32, but here it would go on in cpu in bfloat16"
    ):
        _train(tmp_path, _plan(), _section(precision="bfloat16"))


def test_a_finished_training_is_not_done_again(tmp_path):
    """Its checkpoint stays until DVC has recorded the ticket: a kill between the two costs nothing."""
    first = _train(tmp_path, _plan(), _section())
    again = FakeStream()
    second = _train(tmp_path, _plan(), _section(), again)
    assert again.asked == []
    assert _same(first.weights, second.weights)
    assert first.history == second.history


def _counting(monkeypatch: pytest.MonkeyPatch, *readings: float) -> None:
    """A machine whose energy counter shows these joules, one look after the other."""
    shown = iter(readings)
    monkeypatch.setattr("mirl.training.meter.counter", lambda device: ("made up", lambda: next(shown)))


def test_energy_and_seconds_survive_a_stop(tmp_path, monkeypatch):
    stream = FakeStream()
    _counting(monkeypatch, 100.0, 130.0)
    with pytest.raises(Stopped):
        _train(tmp_path, _plan(), _section(), stream, should_stop=lambda: len(stream.asked) == 4)
    before = checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert before is not None and before.train_joules == 30.0 and 0 < before.train_seconds < 1000
    checkpoint.save(replace(before, train_seconds=1000.0), tmp_path / "checkpoint.safetensors")
    _counting(monkeypatch, 7.0, 12.0)
    trained = _train(tmp_path, _plan(), _section())
    assert trained.train_joules == 35.0
    assert 1000 < trained.train_seconds < 2000


def test_a_machine_that_cannot_tell_makes_the_energy_unknown_for_good(tmp_path, monkeypatch):
    stream = FakeStream()
    monkeypatch.setattr("mirl.training.meter.counter", lambda device: None)
    with pytest.raises(Stopped):
        _train(tmp_path, _plan(), _section(), stream, should_stop=lambda: len(stream.asked) == 4)
    _counting(monkeypatch, *range(100))
    assert _train(tmp_path, _plan(), _section()).train_joules is None
    assert _train(tmp_path / "whole", _plan(), _section()).train_joules is not None


def test_records_go_to_the_sink_as_they_come(tmp_path):
    class Kept:
        def __init__(self) -> None:
            self.records: list[TrainRecord] = []

        def log(self, record: TrainRecord) -> None:
            self.records.append(record)

        def close(self) -> None:
            pass

    sink = Kept()
    trained = _train(tmp_path, _plan(), _section(), sink=sink)
    assert [record.step for record in sink.records] == [5, 10, 12]
    assert [vars(record) for record in sink.records] == trained.history


def test_the_callers_threads_and_generator_are_put_back(tmp_path):
    before, state = torch.get_num_threads(), torch.get_rng_state()
    _train(tmp_path, _plan(), _section(), machine=MachineSection(threads=2))
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_gpu_that_is_not_there_is_refused(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match="torch sees no GPU"):
        _train(tmp_path, _plan(), _section(), machine=MachineSection(device="cuda"))


@pytest.mark.parametrize("values", [{"rewind_step": 13}, {"warmup_steps": 13}])
def test_steps_that_do_not_fit_are_refused(values):
    with pytest.raises(ValueError, match="must"):
        _section(**values)


def test_a_short_round_runs_through_the_whole_learning_rate(tmp_path):
    stream = FakeStream()
    plan = _plan(start_step=4, origin=_state(), length=0.5)
    trained = _train(tmp_path, plan, _section(steps=24, warmup_steps=8, record_every=1), stream)
    rates = [record["learning_rate"] for record in trained.history]
    whole = _train(tmp_path / "whole", _plan(), _section(steps=24, warmup_steps=8, record_every=1))
    assert stream.asked == list(range(2, 12)) and trained.steps == 10
    assert rates[2:] == pytest.approx([record["learning_rate"] for record in whole.history][8::2])
    assert trained.origin_step == 4


class ThreeLooks:
    """Ends a training at its third look; each look is remembered."""

    every_steps = 3

    def look(self, weights: State, seen: State) -> tuple[State, bool]:
        number = seen.get("number", torch.tensor(0)) + 1
        return {"number": number}, bool(number == 3)


def test_a_watch_ends_a_training_early_and_a_kill_does_not_change_when(tmp_path):
    calm = _train(tmp_path / "calm", _plan(watch=ThreeLooks()), _section())
    assert calm.steps == 9 and [record["step"] for record in calm.history] == [5, 9]
    stream = FakeStream()
    with pytest.raises(Stopped, match="after step 7"):
        _train(
            tmp_path,
            _plan(watch=ThreeLooks()),
            _section(),
            stream,
            should_stop=lambda: len(stream.asked) == 7,
        )
    resumed, again = _train(tmp_path, _plan(watch=ThreeLooks()), _section()), FakeStream()
    assert resumed.steps == 9 and _same(resumed.weights, calm.weights)
    _train(tmp_path, _plan(watch=ThreeLooks()), _section(), again)
    assert again.asked == []
