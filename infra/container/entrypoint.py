"""The first process of a container: runs a command, tells every process what the container is told, ends when all have.

A worker that is told to stop ends before its training has written the checkpoint. Were the worker the first process, the
kernel would kill the training at that moment.
"""

import os
import signal
import sys
from contextlib import suppress

GRACE_SECONDS = 75
"""What all may take once they are told to stop: more than a stage takes, less than the container has."""


def main(command: list[str]) -> int:
    """Run `command`; its exit code, or 128 and the number of the signal that ended it."""
    if os.getpid() != 1:
        print(
            "error: this is for the first process of a container only; it signals all others", file=sys.stderr
        )
        return 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: _tell_all(number))
    signal.signal(signal.SIGALRM, lambda number, frame: _tell_all(signal.SIGKILL))
    first, code = os.posix_spawnp(command[0], command, os.environ, setsigdef=(signal.SIGPIPE,)), 0
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:  # nobody is left
            return code if code >= 0 else 128 - code
        if ended == first:
            code = os.waitstatus_to_exitcode(status)
            _tell_all(signal.SIGTERM)


def _tell_all(number: int) -> None:
    """Also begins the time after which all are killed: Prefect's worker may not end while its server is away."""
    signal.alarm(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.kill(-1, number)  # all but the first process


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
