"""The seconds and joules of one training, over all runs of it."""

import time

import torch

from mirl.training.checkpoint import Progress
from mirl.training.energy import Joules, counter

READ_SECONDS = 1.0
"""Time between two readings of the energy: soon enough that no counter begins anew unseen, rare enough to cost nothing."""


class Meter:
    """Runs from when it is made; `seconds` and `joules` are as of the last reading."""

    def __init__(self, energy: Joules | None, seconds: float = 0.0, joules: float | None = 0.0) -> None:
        self.seconds, self.joules = seconds, joules
        self._began = self._read_at = time.monotonic()
        self._began -= seconds
        self._energy, self._before = energy, 0.0
        try:
            self._before = energy() if energy else 0.0
        except OSError:
            self._energy = None

    @classmethod
    def of(cls, device: torch.device, progress: Progress | None, is_main: bool) -> "Meter":
        """Goes on from where a training stands.

        Every process counts its own GPU; of those on a CPU, which share it, the first counts for all.
        """
        found = counter(device)
        energy = found[1] if found else None
        if not is_main:
            return cls(energy if device.type == "cuda" else lambda: 0.0)
        return cls(energy, progress.train_seconds, progress.train_joules) if progress else cls(energy)

    def tick(self) -> None:
        """After a step: read the clock, and now and then the energy."""
        now = time.monotonic()
        self.seconds = now - self._began
        if now - self._read_at >= READ_SECONDS:
            self._read_at = now
            self.read_energy()

    def read_energy(self) -> None:
        """Add the energy since the last reading; of a training whose energy is not known in part, nobody wants to know."""
        if self._energy is None or self.joules is None:
            self.joules = None
            return
        try:
            now = self._energy()
        except OSError:
            self.joules = None
        else:
            self.joules, self._before = self.joules + now - self._before, now
