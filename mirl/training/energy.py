"""Energy counters of a machine's CPU or GPU, if the machine has them."""

import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
CPU_PACKAGES, GPU_BOARD = "CPU packages (RAPL)", "GPU board (NVML)"
"""Names of the counters, which count all that runs on the device, not this training alone; a CPU without its memory."""

Joules = Callable[[], float]
"""Function that returns the joules since a fixed moment. Raises OSError once the counter cannot be read any more."""


def counter(device: torch.device, powercap: Path = POWERCAP) -> tuple[str, Joules] | None:
    """Return the name of the energy counter of `device`, and the counter; None if the machine has none."""
    try:
        if device.type == "cuda":
            return GPU_BOARD, _nvml(device)
        return CPU_PACKAGES, Rapl(powercap)
    except (ImportError, OSError):
        return None


class Rapl:
    """Energy counter of the CPU packages, in joules, from Linux's powercap files.

    Each file wraps to 0 after some 20 min of full load. Raises OSError if there are no such files, or if only root may
    read them.
    """

    def __init__(self, powercap: Path = POWERCAP) -> None:
        named = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if _name(zone).startswith("package")]
        if not named:
            raise FileNotFoundError(f"{powercap} has no CPU package")
        self._files = [zone / "energy_uj" for zone in named]
        self._ranges = [_number(zone / "max_energy_range_uj") for zone in named]
        self._last = [_number(file) for file in self._files]
        self._total = 0

    def __call__(self) -> float:
        now = [_number(file) for file in self._files]
        for last, new, span in zip(self._last, now, self._ranges, strict=True):
            self._total += new - last if new >= last else new - last + span
        self._last = now
        return self._total / 1e6


def name_of(device: torch.device, threads: int) -> str:
    """Return the name of a device: the name of the GPU, or the number of threads and the model of the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    return f"{threads} thread{'s'[: threads > 1]} of {model}"


def _nvml(device: torch.device) -> Joules:
    """Return the energy counter of a whole GPU board.

    Raises ImportError without nvidia-ml-py, and OSError if the GPU has no counter (before Volta, MIG).
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        # by UUID: NVML does not know which GPUs CUDA_VISIBLE_DEVICES leaves
        board = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(board)
    except pynvml.NVMLError as error:
        raise OSError(str(error)) from None

    def joules() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(board)) / 1e3
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from None

    return joules


def _name(zone: Path) -> str:
    return (zone / "name").read_text().strip()


def _number(file: Path) -> int:
    return int(file.read_text())
