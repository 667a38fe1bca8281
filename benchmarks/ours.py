"""Our training, the counterpart of the authors' in `benchmarks.reference`: network, planner and loop, on one batch."""

from pathlib import Path
from typing import Any

import torch

from benchmarks.reference import moved
from mirl.data.batches import Batch
from mirl.methods.plan import Parent, copied
from mirl.methods.rewind import Rewind, RewindArm
from mirl.networks import NetworkSection, build, prunable
from mirl.records import NullSink
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.training import malloc
from mirl.training.context import TrainingContext
from mirl.training.device import reproducibly
from mirl.training.loading import BatchSource
from mirl.training.process_group import SINGLE_PROCESS
from mirl.training.run import TrainingRun
from mirl.training.section import MachineSection, TrainSection


class Ours:
    """Our network, planner and loop, on one batch: the counterpart of `Reference`."""

    def __init__(self, blocks: list[int], refinement: int, device: torch.device) -> None:
        options: dict[str, Any] = {"blocks": blocks, "refinement": refinement}
        section = NetworkSection(name="promptir", options=options)
        self.network = build(section).to(device)
        origin = copied(self.network.state_dict())
        mask = Mask.full({name: origin[name] for name in prunable(self.network, prompts=False)})
        trained = {name: moved(tensor) for name, tensor in origin.items()}
        self.parent = Parent(
            network=section, state=trained, masks=Masks.one(mask), origin=origin, origin_step=0
        )

    def prune(self, scope: str) -> None:
        """Take the trained network to the origin, under a mask that keeps four fifths of the weights."""
        arm = RewindArm.read(
            {"method": "imp", "schedule": "authors", "scope": scope, "fraction": 0.2}, "the arm"
        )
        self.plan = Rewind(arm).plan(self.parent, lambda seed: {})
        self.network.load_state_dict(self.plan.state)

    def train_under_mask(self, precision: str, batch: int) -> None:
        """Prune once globally; from here on `step` trains what that leaves."""
        self.prune("global")
        section = TrainSection.model_validate({"steps": 1_000_000, "precision": precision})
        # of the stream only the names of the pictures of a bad step would be asked
        source = BatchSource(stream=None, batch=batch, group=SINGLE_PROCESS)  # type: ignore[arg-type]
        context = TrainingContext(checkpoint=Path("there-is-none"), sink=NullSink(), machine=MachineSection())
        self.run = TrainingRun(self.network.train(), self.plan, source, section, context)

    def step(self, batch: Batch) -> None:
        self.run.take_step(batch)

    def steps(self, batch: Batch, count: int, threads: int) -> None:
        """Do `count` steps, as reproducibly and with freed memory kept as in `train`; the first pays for its pages."""
        with reproducibly(MachineSection(threads=threads), self.run.device), malloc.keep_freed_memory():
            for _ in range(count):
                self.step(batch)
