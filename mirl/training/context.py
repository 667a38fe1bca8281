"""The context of a training: device, checkpoint, records and process group."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mirl.records import Sink
from mirl.training.process_group import SINGLE_PROCESS, ProcessGroup
from mirl.training.section import MachineSection


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """Where a training runs, what it saves to and whom it tells; of this only the device can be seen in its result."""

    checkpoint: Path
    """File to resume from and to save to."""
    sink: Sink
    machine: MachineSection
    should_stop: Callable[[], bool] = lambda: False
    """Asked after every step; True saves a checkpoint and raises Stopped."""
    title: str = "train"
    group: ProcessGroup = SINGLE_PROCESS
