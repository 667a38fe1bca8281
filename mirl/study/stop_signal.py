"""Request to stop by a signal: work ends at the next point from which it can be resumed."""

import signal
from types import FrameType


class StopSignal:
    """Handler of SIGINT and SIGTERM: a call returns True if one came; a second Ctrl-C ends the process at once.

    A second SIGTERM is no impatience: it comes when a whole group is told to end, and then the parent has died.
    """

    def __init__(self) -> None:
        self.came = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)

    def __call__(self) -> bool:
        return self.came
