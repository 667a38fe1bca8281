import platform
import resource

import pytest
import torch

from mirl.training import heap

ELEMENTS = 2**24  # 64 MiB


def _pages_asked_for() -> int:
    """How many pages the kernel hands out for a large tensor that is made, filled and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(ELEMENTS).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_memory_stays_within_and_is_given_back_after_however_it_ends() -> None:
    pages = ELEMENTS * 4 // resource.getpagesize()
    with pytest.raises(ValueError), heap.kept():
        asked = [_pages_asked_for() for _ in range(30)]  # the first ones find no hole that is large enough
        assert max(asked[-5:]) < pages / 10
        raise ValueError
    assert _pages_asked_for() > pages / 2 and _pages_asked_for() > pages / 2


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    with heap.kept():
        pass
