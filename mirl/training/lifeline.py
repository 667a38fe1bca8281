"""Keeps a process from outliving the one that began it."""

import ctypes
import os
import signal
import sys


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux for this signal when the parent dies, so that nothing goes on that nobody waits for."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)


def follow_parent_only(parent: int) -> None:
    """For a process that is a part of a training: it ends when `parent` says so or dies.

    A signal to the whole group is for the parent, which tells its parts what to do.
    """
    die_with_parent(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if os.getppid() != parent:  # it died while this one began
        os._exit(1)
