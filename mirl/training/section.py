"""Sections `train` and `machine` of params.yaml: how every round is trained, and on which machine."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from mirl.config import Section, UserError
from mirl.data.sections import BatchSection


class MachineSection(Section):
    """Section `machine`: the device and processes of training. DVC ignores it: another machine retrains nothing.

    Another device or thread count gives another result within rounding (and within bfloat16, see `precision`).
    """

    device: str = "auto"
    """Device: `auto` is the GPU if there is one; `cuda:1` is the second GPU of those in CUDA_VISIBLE_DEVICES."""
    processes: int = Field(default=1, gt=0)
    """Number of processes that train one network together, each on its own GPU (or the CPU) with a part of a batch."""
    threads: int = Field(default=2, gt=0)
    """Number of CPU threads of torch in each process."""
    loaders: int | None = Field(default=None, ge=0)
    """Number of processes that draw batches for each training process; 0: that process draws them itself. The default
    is 0 on a CPU, and for a GPU its share of the cores less one, from 1 to 8."""
    micro_batch: int | None = Field(default=None, gt=0)
    """Number of images that go through the network at a time, to save memory; by default all of a process's part of a
    batch. The number is halved if the memory is full."""
    deterministic: bool = True
    """True if a GPU uses deterministic algorithms where they exist; a CPU always does."""
    compile: bool = False
    """True to compile the network with torch.compile."""
    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Seconds from one checkpoint for resuming to the next."""

    @field_validator("device")
    @classmethod
    def _known(cls, name: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
            raise ValueError("the devices are auto, cpu, cuda, and cuda:0, cuda:1 and so on")
        return name

    def refuse_uneven(self, batch: int) -> None:
        """Raise UserError if the processes cannot share a batch of `batch` images evenly."""
        if batch % self.processes:
            even = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
            raise UserError(
                f"machine.processes is {self.processes}, which does not share train.batches.batch of {batch} evenly; "
                f"use one of {even}"
            )


class TrainSection(Section):
    """Section `train`: training of the dense network and of each round alike (MIR-L trains them all the same way)."""

    steps: int = Field(ge=0)
    """Number of optimiser steps of the whole schedule; with 0, a round's ticket is its mask times its origin."""
    rewind_step: int = Field(default=0, ge=0)
    """Step whose state is the origin: 0 is the initialisation (MIR-L), k > 0 late rewinding (1903.01611)."""
    learning_rate: float = Field(default=2e-4, gt=0)
    rates: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    """Beginning of a parameter's name -> factor of its learning rate, such as `{tail.: 0.1}` for a last layer at a tenth;
    the longest that fits counts, else 1. What a method asks for beside it is multiplied."""
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest global L2 norm of the gradients of a step."""
    seed: int = Field(default=0, ge=0)
    """Seed of the stream of samples: rounds that begin at the origin see the same batches, and differ only in masks."""
    batches: BatchSection = BatchSection()
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of computation: `auto` is bfloat16 on a GPU that supports it, else float32; weights stay float32."""
    record_every: int = Field(default=50, gt=0)
    """Steps from one record of the training curve to the next."""

    def shortened(self, share: float) -> Self:
        """Return the schedule in `share`, in [0, 1], of its steps, with warm-up and rewind step in proportion."""
        if share == 1:
            return self
        shorter = {
            name: self.step_after(getattr(self, name), share)
            for name in ("steps", "warmup_steps", "rewind_step")
        }
        return self.model_copy(update=shorter)

    @staticmethod
    def step_after(step: int, share: float) -> int:
        """Map `step` of the whole schedule to the schedule shortened to `share`; unless that is 0, only step 0 becomes 0."""
        return min(step, max(1, round(step * share))) if share else 0

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.rewind_step > self.steps:
            raise ValueError(
                f"rewind_step {self.rewind_step} must not lie behind the last of {self.steps} steps"
            )
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} must not be more than the {self.steps} steps")
        return self
