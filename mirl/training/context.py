"""Context of a training: device, checkpoint, records and process group."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mirl.records import Sink
from mirl.training.process_group import SINGLE_PROCESS, ProcessGroup
from mirl.training.section import MachineSection


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """Machine, checkpoint, sink and process group of a training; of these only the device affects the result."""

    checkpoint: Path
    """File to resume from and to save to."""
    sink: Sink
    machine: MachineSection
    should_stop: Callable[[], bool] = lambda: False
    """Called after every step; if it returns True, a checkpoint is saved and Stopped is raised."""
    title: str = "train"
    group: ProcessGroup = SINGLE_PROCESS
