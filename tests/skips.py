"""Hooks of pytest that fail a run with MIRL_SKIPS=strict when a test was skipped that tests/allowed_skips.txt does not name.

tests/conftest.py takes them in. Under xdist the process that collects the reports decides, and the workers do nothing.
"""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

LIST = Path(__file__).with_name("allowed_skips.txt")


class Skip(NamedTuple):
    """A test file, relative to the root, and the reason that a test of it was skipped for."""

    file: str
    reason: str


_skips: dict[str, Skip] = {}
"""What was skipped in this run: id of the test or the module -> which and why."""


def allowed(text: str) -> set[Skip]:
    """The entries of the list. Each line has a file, a reason and why that is accepted."""
    rows = [line.split(" | ") for line in text.splitlines() if line and not line.startswith("#")]
    assert all(len(row) == 3 and all(row) for row in rows), "a line is FILE | REASON | WHY"
    return {Skip(row[0], row[1]) for row in rows}


def refused(skips: dict[str, Skip], accepted: set[Skip]) -> list[str]:
    """One line for each skip that is not accepted."""
    return [f"{test}: {skip.reason}" for test, skip in sorted(skips.items()) if skip not in accepted]


def _refused(config: pytest.Config) -> list[str]:
    if os.environ.get("MIRL_SKIPS") != "strict" or hasattr(config, "workerinput"):
        return []
    return refused(_skips, allowed(LIST.read_text()))


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        assert isinstance(report.longrepr, tuple)
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        _skips[report.nodeid] = Skip(report.nodeid.split("::")[0], reason)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _refused(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := _refused(config):
        terminalreporter.section("skips that tests/allowed_skips.txt does not name")
        for line in lines:
            terminalreporter.write_line(line)
