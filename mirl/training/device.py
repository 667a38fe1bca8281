"""Choice of torch's device and precision, and the settings that make results reproducible."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mirl.config import UserError
from mirl.training.section import MachineSection


def device_of(machine: MachineSection) -> torch.device:
    """Return the device on which torch computes. Raises UserError if the machine lacks that device."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if machine.device == "cpu" or (machine.device == "auto" and not there):
        return torch.device("cpu")
    if not there:
        raise UserError(f"machine.device is {machine.device}, but torch sees no GPU; use `auto` or `cpu`")
    device = torch.device("cuda" if machine.device == "auto" else machine.device)
    if (device.index or 0) >= there:
        raise UserError(
            f"machine.device is {machine.device}, but torch sees {there} GPUs, counted from 0; "
            f"use `cuda:{there - 1}` or less, or `cuda`"
        )
    return device


def precision(device: torch.device, wanted: str) -> tuple[torch.autocast, str]:
    """Return an autocast for the precision and its name; `auto` is bfloat16 on a GPU that supports it, else float32."""
    has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    low = wanted == "bfloat16" or (wanted == "auto" and has_it)
    name = f"{device.type} in {'bfloat16' if low else 'float32'}"
    return torch.autocast(device.type, torch.bfloat16, enabled=low), name


@contextmanager
def reproducibly(machine: MachineSection, device: torch.device) -> Iterator[None]:
    """Set the thread count and deterministic algorithms within the block, so that every run gives the same bytes.

    The settings are reset afterwards. On a GPU an operation without a deterministic kernel warns and continues; with
    `machine.deterministic` off, cuDNN chooses the kernels that are fastest for these shapes.
    """
    gpu = device.type == "cuda"
    before = torch.get_num_threads(), torch.backends.cudnn.benchmark
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined] # torch stubs
    determined = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    if gpu and machine.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product on the GPU
    torch.set_num_threads(machine.threads)
    torch.use_deterministic_algorithms(machine.deterministic or not gpu, warn_only=gpu)
    # Else every new tensor is filled with NaN first, 6 to 8 % of a step; nothing here reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # torch stubs
    torch.backends.cudnn.benchmark = gpu and not machine.deterministic
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined] # torch stubs
        torch.backends.cudnn.benchmark = before[1]
        torch.use_deterministic_algorithms(determined[0], warn_only=determined[1])
