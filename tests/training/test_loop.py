"""Trains a tiny network; every test is about what must hold exactly."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mirl.config import Stopped, UserError
from mirl.records import TrainRecord
from mirl.sparsity.mask import State
from mirl.training import checkpoint
from mirl.training.section import MachineSection
from tests.training.tiny import FakeStream, make_plan, make_section, make_state, same, train_tiny


def test_the_mask_holds_and_everything_else_learns(tmp_path: Path) -> None:
    plan = make_plan()
    trained = train_tiny(tmp_path, plan, make_section())
    assert (trained.weights["0.weight"][~plan.mask["0.weight"]] == 0).all()
    for name, start in plan.state.items():
        assert not torch.equal(trained.weights[name], start)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


def test_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first = train_tiny(tmp_path / "a", make_plan(), make_section())
    second = train_tiny(tmp_path / "b", make_plan(), make_section())
    assert same(first.weights, second.weights)


@pytest.mark.parametrize("stop_after", [1, 4, 5, 11])
def test_stopped_anywhere_it_resumes_to_the_same_bytes(tmp_path: Path, stop_after: int) -> None:
    calm = train_tiny(tmp_path / "calm", make_plan(), make_section(rewind_step=3))
    stream = FakeStream()
    with pytest.raises(Stopped, match=f"after step {stop_after} of 12; run it again"):
        train_tiny(
            tmp_path,
            make_plan(),
            make_section(rewind_step=3),
            stream,
            should_stop=lambda: len(stream.asked) == stop_after,
        )
    again = FakeStream()
    resumed = train_tiny(tmp_path, make_plan(), make_section(rewind_step=3), again)
    assert again.asked == list(range(stop_after, 12))
    assert same(resumed.weights, calm.weights)
    assert same(resumed.origin, calm.origin)
    assert resumed.history == calm.history


def test_the_origin_is_the_complete_state_at_the_rewind_step(tmp_path: Path) -> None:
    at_start = train_tiny(tmp_path / "a", make_plan(), make_section())
    assert same(at_start.origin, make_plan().state)
    later = train_tiny(tmp_path / "b", make_plan(), make_section(rewind_step=4))
    assert later.origin.keys() == later.weights.keys()
    assert not same(later.origin, at_start.origin)
    assert not same(later.origin, later.weights)


def test_a_round_begins_at_its_start_step_and_keeps_the_origin_it_was_given(tmp_path: Path) -> None:
    origin = make_state()
    stream = FakeStream()
    trained = train_tiny(
        tmp_path, make_plan(start_step=4, origin=origin), make_section(rewind_step=4), stream
    )
    assert stream.asked == list(range(4, 12))
    assert trained.steps == 8
    assert same(trained.origin, origin)
    assert [record["step"] for record in trained.history] == [5, 10, 12]


def test_frozen_parameters_do_not_move(tmp_path: Path) -> None:
    frozen = {"0.bias": torch.ones(6, dtype=torch.bool), "2.weight": torch.ones(3, 6, 1, 1, dtype=torch.bool)}
    plan = make_plan(frozen=frozen)
    trained = train_tiny(tmp_path, plan, make_section())
    for name in frozen:
        assert torch.equal(trained.weights[name], plan.state[name])


def test_a_loss_that_is_not_finite_names_the_step_the_images_and_the_checkpoint(tmp_path: Path) -> None:
    section, often = make_section(), MachineSection(threads=1, checkpoint_seconds=0.0)
    with pytest.raises(
        UserError,
        match=r"step 6: the loss is nan.*photo-24, photo-25, photo-26, photo-27.*last good checkpoint is .*safetensors",
    ):
        train_tiny(tmp_path, make_plan(), section, FakeStream(poisoned=6), machine=often)
    healed = FakeStream()
    train_tiny(tmp_path, make_plan(), section, healed, machine=often)
    assert healed.asked[0] == 6


def test_a_training_goes_on_only_where_it_began(tmp_path: Path) -> None:
    stream = FakeStream()
    with pytest.raises(Stopped):
        train_tiny(tmp_path, make_plan(), make_section(), stream, should_stop=lambda: len(stream.asked) == 3)
    with pytest.raises(
        UserError, match="began on cpu in float32, but here it would go on in cpu in bfloat16"
    ):
        train_tiny(tmp_path, make_plan(), make_section(precision="bfloat16"))


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    """Its checkpoint stays until DVC has recorded the ticket: a kill between the two costs nothing."""
    first = train_tiny(tmp_path, make_plan(), make_section())
    again = FakeStream()
    second = train_tiny(tmp_path, make_plan(), make_section(), again)
    assert again.asked == []
    assert same(first.weights, second.weights)
    assert first.history == second.history


def _counting(monkeypatch: pytest.MonkeyPatch, *joules: float | None) -> None:
    """A machine whose energy counter shows these joules, one look after the other."""
    shown = iter(joules)
    monkeypatch.setattr("mirl.training.meter.counter", lambda device: ("made up", lambda: next(shown)))


def test_energy_and_seconds_survive_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = FakeStream()
    _counting(monkeypatch, 100.0, 130.0)
    with pytest.raises(Stopped):
        train_tiny(tmp_path, make_plan(), make_section(), stream, should_stop=lambda: len(stream.asked) == 4)
    before = checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert before is not None and before.train_joules == 30.0 and 0 < before.train_seconds < 1000
    checkpoint.save(replace(before, train_seconds=1000.0), tmp_path / "checkpoint.safetensors")
    _counting(monkeypatch, 7.0, 12.0)
    trained = train_tiny(tmp_path, make_plan(), make_section())
    assert trained.train_joules == 35.0
    assert 1000 < trained.train_seconds < 2000


def test_a_machine_that_cannot_tell_makes_the_energy_unknown_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = FakeStream()
    monkeypatch.setattr("mirl.training.meter.counter", lambda device: None)
    with pytest.raises(Stopped):
        train_tiny(tmp_path, make_plan(), make_section(), stream, should_stop=lambda: len(stream.asked) == 4)
    _counting(monkeypatch, *range(100))
    assert train_tiny(tmp_path, make_plan(), make_section()).train_joules is None
    assert train_tiny(tmp_path / "whole", make_plan(), make_section()).train_joules is not None


def test_records_go_to_the_sink_as_they_come(tmp_path: Path) -> None:
    class Kept:
        def __init__(self) -> None:
            self.records: list[TrainRecord] = []

        def log(self, record: TrainRecord) -> None:
            self.records.append(record)

        def close(self) -> None:
            pass

    sink = Kept()
    trained = train_tiny(tmp_path, make_plan(), make_section(), sink=sink)
    assert [record.step for record in sink.records] == [5, 10, 12]
    assert [record.row() for record in sink.records] == trained.history


def test_the_callers_threads_and_generator_are_put_back(tmp_path: Path) -> None:
    before, state = torch.get_num_threads(), torch.get_rng_state()
    train_tiny(tmp_path, make_plan(), make_section(), machine=MachineSection(threads=2))
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("values", [{"rewind_step": 13}, {"warmup_steps": 13}])
def test_steps_that_do_not_fit_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        make_section(**values)


@pytest.mark.parametrize("stop_after", [5, 6, 9])
def test_held_moments_are_held_from_the_same_step_on_after_a_kill(tmp_path: Path, stop_after: int) -> None:
    plan = make_plan(hold_moments=0.5)
    calm = train_tiny(tmp_path / "calm", plan, make_section())
    stream = FakeStream()
    with pytest.raises(Stopped, match=f"after step {stop_after} of 12"):
        train_tiny(
            tmp_path, plan, make_section(), stream, should_stop=lambda: len(stream.asked) == stop_after
        )
    then = checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert same(train_tiny(tmp_path, plan, make_section()).weights, calm.weights)
    end = checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert then is not None and end is not None
    stayed = [torch.equal(end.moments[name], then.moments[name]) for name in end.moments if "second" in name]
    assert set(stayed) == {stop_after >= 6}


def test_the_sections_rates_multiply_the_plans(tmp_path: Path) -> None:
    still = make_section(rates={"2.": 0.0}, weight_decay=0.0)
    trained = train_tiny(tmp_path / "still", make_plan(rates={"2.weight": 3.0}), still)
    moved = {
        name for name, start in make_plan().state.items() if not torch.equal(trained.weights[name], start)
    }
    assert moved == {"0.weight", "0.bias"}
    ours = train_tiny(tmp_path / "ours", make_plan(rates={"2.": 0.5}), make_section(rates={"2.weight": 0.5}))
    both = train_tiny(tmp_path / "both", make_plan(rates={"2.weight": 0.25, "2.bias": 0.5}), make_section())
    assert same(ours.weights, both.weights)


def test_a_short_round_runs_through_the_whole_learning_rate(tmp_path: Path) -> None:
    stream = FakeStream()
    plan = make_plan(start_step=4, origin=make_state(), length=0.5)
    trained = train_tiny(tmp_path, plan, make_section(steps=24, warmup_steps=8, record_every=1), stream)
    rates = [record["learning_rate"] for record in trained.history]
    whole = train_tiny(
        tmp_path / "whole", make_plan(), make_section(steps=24, warmup_steps=8, record_every=1)
    )
    assert stream.asked == list(range(2, 12)) and trained.steps == 10
    assert rates[2:] == pytest.approx([record["learning_rate"] for record in whole.history][8::2])
    assert trained.origin_step == 4


class ThreeChecks:
    """Ends a training at its third check; each check is remembered."""

    every_steps = 3

    def check(self, weights: State, seen: State) -> tuple[State, bool]:
        number = seen.get("number", torch.tensor(0)) + 1
        return {"number": number}, bool(number == 3)


def test_a_stopping_rule_ends_a_training_early_and_a_kill_does_not_change_when(tmp_path: Path) -> None:
    calm = train_tiny(tmp_path / "calm", make_plan(stopping_rule=ThreeChecks()), make_section())
    assert calm.steps == 9 and [record["step"] for record in calm.history] == [5, 9]
    stream = FakeStream()
    with pytest.raises(Stopped, match="after step 7"):
        train_tiny(
            tmp_path,
            make_plan(stopping_rule=ThreeChecks()),
            make_section(),
            stream,
            should_stop=lambda: len(stream.asked) == 7,
        )
    resumed, again = (
        train_tiny(tmp_path, make_plan(stopping_rule=ThreeChecks()), make_section()),
        FakeStream(),
    )
    assert resumed.steps == 9 and same(resumed.weights, calm.weights)
    train_tiny(tmp_path, make_plan(stopping_rule=ThreeChecks()), make_section(), again)
    assert again.asked == []


def test_freed_memory_is_kept_while_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []

    @contextmanager
    def kept() -> Iterator[None]:
        events.append("kept")
        yield
        events.append("given back")

    monkeypatch.setattr("mirl.training.malloc.keep_freed_memory", kept)
    train_tiny(tmp_path, make_plan(), make_section(), should_stop=lambda: bool(events.append("step")))
    assert events == ["kept", *["step"] * 12, "given back"]
