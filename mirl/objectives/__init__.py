"""What a training lowers. The loop adds an objective's terms and records each; it knows none of them by name."""

from mirl.objectives.objective import Objective, Subnetworks
from mirl.objectives.reconstruction import Reconstruction

__all__ = ["Objective", "Reconstruction", "Subnetworks"]
