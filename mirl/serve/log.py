"""Rate limit on the log, so that strangers cannot fill it."""

import logging
import time


class RateLimitFilter(logging.Filter):
    """Filter that passes at most `most` records in `seconds`, and adds to the next one how many were left out."""

    def __init__(self, most: int = 10, seconds: float = 60) -> None:
        super().__init__()
        self._most, self._seconds = most, seconds
        self._since, self._passed, self._left_out = 0.0, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._since > self._seconds:
            self._since, self._passed = now, 0
        if self._passed >= self._most:
            self._left_out += 1
            return False
        self._passed += 1
        if self._left_out:
            record.msg, record.args = f"{record.getMessage()} ({self._left_out} messages left out before)", ()
            self._left_out = 0
        return True


def limit_records() -> None:
    """Limit the rate of log records about failing connections and pictures."""
    for name in ("asyncio", "uvicorn.error", "mirl.serve"):
        logging.getLogger(name).addFilter(RateLimitFilter())
