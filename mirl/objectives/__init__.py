"""Objectives of training. The loop adds an objective's terms and records each; it knows none of them by name."""

from mirl.objectives.by_task import ReconstructionByTask
from mirl.objectives.levels import Levels, RouterFit, SoftChoice
from mirl.objectives.objective import Objective, Subnetworks
from mirl.objectives.reconstruction import Reconstruction

__all__ = [
    "Levels",
    "Objective",
    "Reconstruction",
    "ReconstructionByTask",
    "RouterFit",
    "SoftChoice",
    "Subnetworks",
]
