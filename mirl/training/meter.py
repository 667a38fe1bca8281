"""Meter of the seconds and joules of one training, over all its runs."""

import time

import torch

from mirl.training.checkpoint import Progress
from mirl.training.energy import Joules, counter

READ_SECONDS = 1.0
"""Seconds between two readings of the energy: often enough to notice a counter's wrap, rare enough to cost nothing."""


class Meter:
    """Meter that runs from its creation on; `seconds` and `joules` are as of the last reading."""

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
        """Make a meter that continues from the progress of a training.

        Every process counts its own GPU; processes on a CPU share it, and the first one counts for all.
        """
        found = counter(device)
        energy = found[1] if found else None
        if not is_main:
            return cls(energy if device.type == "cuda" else lambda: 0.0)
        return cls(energy, progress.train_seconds, progress.train_joules) if progress else cls(energy)

    def tick(self) -> None:
        """Read the clock after a step, and the energy if READ_SECONDS have passed since the last reading."""
        now = time.monotonic()
        self.seconds = now - self._began
        if now - self._read_at >= READ_SECONDS:
            self._read_at = now
            self.read_energy()

    def read_energy(self) -> None:
        """Add the energy since the last reading; once a reading fails, the energy of the whole training is None."""
        if self._energy is None or self.joules is None:
            self.joules = None
            return
        try:
            now = self._energy()
        except OSError:
            self.joules = None
        else:
            self.joules, self._before = self.joules + now - self._before, now
