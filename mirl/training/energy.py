"""The energy counters of a machine: what its processor has drawn, where the machine tells."""

import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
CPU_PACKAGES, GPU_BOARD = "CPU packages (RAPL)", "GPU board (NVML)"
"""What is counted: all that runs there, not this training alone; of a CPU without its memory."""

Joules = Callable[[], float]
"""Joules since some moment in the past; OSError once the machine does not tell any more."""


def counter(device: torch.device, powercap: Path = POWERCAP) -> tuple[str, Joules] | None:
    """What is counted, and its counter; None where the machine does not tell the energy of `device`."""
    try:
        if device.type == "cuda":
            return GPU_BOARD, _nvml(device)
        return CPU_PACKAGES, Rapl(powercap)
    except (ImportError, OSError):
        return None


class Rapl:
    """The CPU packages, from Linux's powercap files; each begins anew at 0 after some 20 minutes under full load.

    OSError where there are none, or where only root may read them.
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
    """Its make in words: a GPU's name, or how many threads of which CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    return f"{threads} thread{'s'[: threads > 1]} of {model}"


def _nvml(device: torch.device) -> Joules:
    """Of the whole board. ImportError without nvidia-ml-py, OSError where the GPU does not tell (before Volta, MIG)."""
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
