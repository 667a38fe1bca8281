"""Logs that strangers cannot fill."""

import logging

import pytest

from mirl.serve.log import RateLimitFilter


def test_so_many_records_pass_and_the_next_says_how_many_did_not(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("mirl.serve.log.time.monotonic", lambda: now)
    logger, limited = logging.getLogger("tests.limited"), RateLimitFilter(most=2, seconds=60)
    logger.addFilter(limited)
    try:
        for number in range(100):
            logger.error("failure %d", number)
        assert caplog.messages == ["failure 0", "failure 1"]
        now += 61
        logger.error("failure %d", 100)
        assert caplog.messages[2:] == ["failure 100 (98 messages left out before)"]
    finally:
        logger.removeFilter(limited)
