import platform
import subprocess
import sys

import pytest

from mirl.training import malloc

KEPT_AND_GIVEN_BACK = """
import resource
import torch
from mirl.training import malloc

torch.set_num_threads(1)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

begun = resident()
try:
    with malloc.keep_freed_memory():
        for _ in range(40):
            torch.empty(2**24).fill_(1)  # 64 MiB
            print(resident() - begun)
        raise ValueError
except ValueError:
    print(resident() - begun)
"""
"""In a process of its own, in which nobody else has left anything free."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_memory_stays_within_and_is_given_back_after_however_it_ends() -> None:
    """Resident memory in MiB above what it was, each time that 64 MiB were made, filled and freed, and at the end."""
    command = [sys.executable, "-c", KEPT_AND_GIVEN_BACK]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    *within, after = map(float, said.split())
    assert within[0] > 60, "it was given back at once"
    assert within[-1] - within[-20] < 4, "nothing is used again"
    assert after < 4


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirl.training.malloc.ctypes.CDLL", lambda name: object())
    with malloc.keep_freed_memory():
        pass
