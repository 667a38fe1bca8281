"""Training of a network as a plan says."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import nn
from tqdm import tqdm

from mirl.config import Stopped, UserError
from mirl.methods.plan import Plan, copied
from mirl.sparsity.mask import State
from mirl.training import malloc
from mirl.training.context import TrainingContext
from mirl.training.device import device_of, reproducibly
from mirl.training.loading import BatchSource, LoaderKilled, SampleStream, batches
from mirl.training.run import TrainingRun
from mirl.training.section import TrainSection


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Result of a training."""

    weights: State
    """Complete state at the end, float32 on the CPU."""
    origin: State
    """Complete state at `origin_step`."""
    origin_step: int
    history: list[dict[str, float]]
    """Records in the order of their steps."""
    train_seconds: float
    train_joules: float | None
    """Energy of this training in joules; None if a machine could not measure it."""
    steps: int
    """Number of optimiser steps of this training."""


def train(
    network: nn.Module, plan: Plan, stream: SampleStream, section: TrainSection, context: TrainingContext
) -> Trained:
    """Train `network` from `plan.start_step` to the end of the schedule, or until the plan's stopping rule ends it.

    Resumes from the checkpoint if there is one: after a kill at any moment, another call ends in the same bytes. Raises
    Stopped if told to stop or a loader was killed, and UserError if a loss or gradient is not finite or not even one
    image fits into the memory.
    """
    device = device_of(context.machine)
    whole, section = section, section.shortened(plan.length)
    source = BatchSource(stream=stream, batch=section.batches.batch, group=context.group)
    with (
        reproducibly(context.machine, device),
        malloc.keep_freed_memory(),
        _plain_errors(device, context.title),
    ):
        network.load_state_dict(plan.state)
        network.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload] # torch stubs
        run = TrainingRun(network, plan, source, section, context)
        bar = tqdm(
            total=section.steps,
            initial=run.step,
            desc=context.title,
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
            mininterval=0.5,
            disable=run.done or not context.group.is_main,
        )
        if run.first_step < run.step < section.steps and context.group.is_main:
            tqdm.write(f"{context.title}: goes on from step {run.step} of {section.steps}")
        with bar:
            _advance(run, context, bar)
        run.optimiser.check()
    run.note_origin()
    return Trained(
        weights=copied(network.state_dict(), "cpu"),
        origin=run.origin,
        origin_step=plan.start_step if plan.origin else whole.rewind_step,
        history=run.history,
        train_seconds=run.meter.seconds,
        train_joules=run.meter.joules,
        steps=run.step - run.first_step,
    )


def _advance(run: TrainingRun, context: TrainingContext, bar: "tqdm[NoReturn]") -> None:
    saved = time.monotonic()
    with closing(
        batches(run.source, range(run.step, run.section.steps), context.machine, run.device)
    ) as pairs:
        while not run.done:
            run.note_origin()
            run.take_step(next(pairs))
            run.check_stopping_rule()
            run.meter.tick()
            bar.update()
            if run.step % run.section.record_every == 0 or run.done:
                record = run.record()
                context.sink.log(record)
                images = (run.step - run.first_step) * run.source.batch / run.meter.seconds
                bar.set_postfix_str(f"loss {record.loss:.4f}, {images:.0f} images/s")
            stop = context.group.any_true(context.should_stop())
            late = context.group.any_true(time.monotonic() - saved >= context.machine.checkpoint_seconds)
            # the last one is kept until DVC has recorded the ticket, which comes after this
            if stop or late or run.done:
                run.save()
                saved = time.monotonic()
            if stop and not run.done:
                raise Stopped(
                    f"{context.title}: stopped after step {run.step} of {run.section.steps}; run it again to go on"
                )


@contextmanager
def _plain_errors(device: torch.device, title: str) -> Iterator[None]:
    """Turn errors within the block into plain ones: UserError if memory is full, Stopped if a loader was killed."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{title}: the memory of {device} is full ({str(error).splitlines()[0]}); end what else uses it, or "
            "train a smaller network or patch"
        ) from None
    except LoaderKilled:
        raise Stopped(
            f"{title}: a process that draws its batches was killed; run it again to go on"
        ) from None
