"""Trains a network as a plan says. Dimensions in names: B images of a batch, C channels, H height, W width."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn
from tqdm import tqdm

from mirl.config import Stopped, UserError
from mirl.data.batches import BatchStream
from mirl.methods.plan import Plan
from mirl.records import Sink, TrainRecord
from mirl.sparsity.mask import State
from mirl.training import checkpoint
from mirl.training.checkpoint import Progress
from mirl.training.meter import Meter
from mirl.training.optimiser import MaskedAdamW
from mirl.training.schedule import learning_rate
from mirl.training.section import MachineSection, TrainSection


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training leaves."""

    weights: State
    """Complete state at the end: float32 on the CPU."""
    origin: State
    """Complete state at `origin_step`."""
    origin_step: int
    history: list[dict[str, float]]
    """Records, in the order of their steps."""
    train_seconds: float
    train_joules: float | None
    """Energy that it took; None where a machine could not tell."""
    steps: int
    """Steps that this training took."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where a training runs, what it saves to and whom it tells; of this only the device can be seen in its result."""

    checkpoint: Path
    """File to resume from and to save to."""
    sink: Sink
    machine: MachineSection
    should_stop: Callable[[], bool] = lambda: False
    """Asked after every step; True saves a checkpoint and raises Stopped."""
    title: str = "train"


def train(
    network: nn.Module, plan: Plan, stream: BatchStream, section: TrainSection, around: Surroundings
) -> Trained:
    """Train `network` from `plan.start` to the end of the schedule, or until the plan's watch has seen enough.

    Goes on from a checkpoint where there is one.

    Killed anywhere and called again, it ends in the same bytes. Raises Stopped when told to stop, UserError at
    a loss or gradient that is not finite.
    """
    device = device_of(around.machine)
    whole, section = section, section.shortened(plan.length)
    with _exact(around.machine.threads):
        network.load_state_dict(plan.start)
        network.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload] # torch stubs
        progress = checkpoint.load(around.checkpoint)
        run = _Run(network, plan, section, progress)
        bar = tqdm(
            total=section.steps,
            initial=run.step,
            desc=around.title,
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
            mininterval=0.5,
        )
        with bar:
            _advance(run, stream, around, bar)
        run.optimiser.check()
    run.note_origin()
    return Trained(
        weights=_copy(network),
        origin=run.origin,
        origin_step=plan.start_step if plan.origin else whole.rewind_step,
        history=run.history,
        train_seconds=run.meter.seconds,
        train_joules=run.meter.joules,
        steps=run.step - run.first_step,
    )


class _Run:
    """A training that is under way: the network and optimiser, and what a checkpoint holds of them."""

    def __init__(
        self, network: nn.Module, plan: Plan, section: TrainSection, progress: Progress | None
    ) -> None:
        self.network, self.plan, self.section = network, plan, section
        parameters = dict(network.named_parameters())
        self.optimiser = MaskedAdamW(parameters, plan.mask, plan.frozen, section.weight_decay)
        self.step = self.first_step = section.step_after(plan.start_step, plan.length)
        self.origin: State = dict(plan.origin or {})
        self.watched: State = {}
        self.ended = False
        self.history: list[dict[str, float]] = []
        self.loss_sum = 0.0
        device = next(iter(parameters.values())).device
        self.meter = Meter.of(device, progress)
        self.autocast, self.made_with = _precision(device.type, section.precision)
        if progress:
            if progress.made_with != self.made_with:
                raise UserError(
                    f"this training began on {progress.made_with}, but here it would go on in {self.made_with}; "
                    "go on where it began, or delete its folder in .mirl/resume to start it anew"
                )
            network.load_state_dict(progress.weights)
            self.optimiser.restore(progress.moments, progress.step - self.first_step)
            self.watched, self.ended = progress.watched, progress.ended
            self.step, self.history, self.loss_sum = progress.step, list(progress.history), progress.loss_sum
            self.origin = self.origin or progress.origin

    @property
    def done(self) -> bool:
        return self.ended or self.step == self.section.steps

    def look(self) -> None:
        """Let the plan's watch see the weights when it is time, and end where it has seen enough."""
        watch = self.plan.watch
        if not self.done and (self.step - self.first_step) % watch.every_steps == 0:
            self.watched, self.ended = watch.look(_copy(self.network), self.watched)

    def note_origin(self) -> None:
        if not self.origin and self.step >= self.section.rewind_step:
            self.origin = _copy(self.network)

    def take_step(self, stream: BatchStream) -> TrainRecord:
        """One optimiser step; the record's loss is that step's own."""
        batch = stream.batch(self.step)
        device = next(self.network.parameters()).device
        degraded_BCHW = batch.degraded_BCHW.to(device, memory_format=torch.channels_last, non_blocking=True)
        clean_BCHW = batch.clean_BCHW.to(device, memory_format=torch.channels_last, non_blocking=True)
        with self.autocast:
            restored_BCHW = self.network(degraded_BCHW)
        loss = nn.functional.l1_loss(restored_BCHW.float(), clean_BCHW)
        loss.backward()
        rate = learning_rate(
            self.step, self.section.steps, self.section.warmup_steps, self.section.learning_rate
        )
        value = loss.item()
        norm = self.optimiser.step(rate, self.section.clip_norm) if math.isfinite(value) else math.nan
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise UserError(
                f"step {self.step}: the loss is {value} and the gradient norm {norm}, expected finite numbers; "
                f"the batch was {', '.join(batch.images)}; a lower train.learning_rate "
                f"(now {self.section.learning_rate}) or longer train.warmup_steps usually helps"
            )
        self.step += 1
        self.loss_sum += value
        return TrainRecord(step=self.step, loss=value, learning_rate=rate, gradient_norm=norm)

    def record(self, last: TrainRecord) -> TrainRecord:
        """The record of the steps since the one before."""
        since = self.history[-1]["step"] if self.history else self.first_step
        mean = TrainRecord(**asdict(last) | {"loss": self.loss_sum / (last.step - since)})
        self.history.append(asdict(mean))
        self.loss_sum = 0.0
        return mean

    def progress(self) -> Progress:
        self.meter.look()
        return Progress(
            step=self.step,
            made_with=self.made_with,
            weights=self.network.state_dict(),
            moments=self.optimiser.moments(),
            origin={} if self.plan.origin else self.origin,
            watched=self.watched,
            ended=self.ended,
            history=self.history,
            loss_sum=self.loss_sum,
            train_seconds=self.meter.seconds,
            train_joules=self.meter.joules,
        )


def _advance(run: _Run, stream: BatchStream, around: Surroundings, bar: "tqdm[NoReturn]") -> None:
    saved = time.monotonic()
    while not run.done:
        run.note_origin()
        try:
            last = run.take_step(stream)
        except UserError as error:
            kept = f"; the last good checkpoint is {around.checkpoint}" if around.checkpoint.exists() else ""
            raise UserError(f"{around.title}: {error}{kept}") from None
        run.look()
        run.meter.tick()
        bar.update()
        if run.step % run.section.record_every == 0 or run.done:
            record = run.record(last)
            around.sink.log(record)
            images = (run.step - run.first_step) * run.section.batches.batch / run.meter.seconds
            bar.set_postfix_str(f"loss {record.loss:.4f}, {images:.0f} images/s")
        stop = around.should_stop()
        # the last one is kept until DVC has recorded the ticket, which comes after this
        if stop or run.done or time.monotonic() - saved >= around.machine.checkpoint_seconds:
            run.optimiser.check()
            checkpoint.save(run.progress(), around.checkpoint)
            saved = time.monotonic()
        if stop and not run.done:
            raise Stopped(
                f"{around.title}: stopped after step {run.step} of {run.section.steps}; run it again to go on"
            )


def device_of(machine: MachineSection) -> torch.device:
    """Where torch works; UserError where the machine lacks the device."""
    available = torch.cuda.is_available()
    if machine.device == "cuda" and not available:
        raise UserError("machine.device is cuda, but torch sees no GPU; use `auto` or `cpu`")
    return torch.device("cuda" if available and machine.device != "cpu" else "cpu")


def _precision(device: str, wanted: str) -> tuple[torch.autocast, str]:
    """How to compute, and its name. `auto`: bfloat16 on a GPU that has it; a CPU gains little by it."""
    has_it = device == "cuda" and torch.cuda.is_bf16_supported()
    low = wanted == "bfloat16" or (wanted == "auto" and has_it)
    return torch.autocast(
        device, torch.bfloat16, enabled=low
    ), f"{device} in {'bfloat16' if low else 'float32'}"


@contextmanager
def _exact(threads: int) -> Iterator[None]:
    """Fixed thread count and deterministic algorithms, put back afterwards: the same bytes on every run."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def _copy(network: nn.Module) -> State:
    """The complete state, contiguous on the CPU, sharing no memory with the network."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in network.state_dict().items()
    }
