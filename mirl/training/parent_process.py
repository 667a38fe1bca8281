"""Processes that end when their parent process ends."""

import ctypes
import os
import signal
import sys


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux to send this signal when the parent process ends, so that no orphan keeps running."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, number)


def end_only_with_parent(parent: int) -> None:
    """Make this process, a part of a training, end only when `parent` asks for it or ends.

    SIGINT and SIGTERM to the whole group are for the parent, which tells its parts what to do.
    """
    end_with_parent(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if os.getppid() != parent:  # it ended while this one began
        os._exit(1)
