"""Whole files to spoil, and what holds for whatever comes of them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirl.restore.restorer import Restorer
from mirl.tickets import format as ticket_format
from tests.fuzz.pictures import whole_pictures

SECONDS = 10
"""A case that takes longer has hung, also on a busy machine."""
MIB = 300
"""By which a case may make the process grow: the budget it is given is 128 MiB beside the decoder's and the file's."""


@contextmanager
def within_bounds(name: str) -> Iterator[None]:
    """Fails where a case takes too long or too much memory."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    before, began = _status("VmRSS"), time.monotonic()
    yield
    seconds, mib = time.monotonic() - began, (_status("VmHWM") - before) / 1024
    assert seconds < SECONDS, f"{name} took {seconds:.1f} s"
    assert mib < MIB, f"{name} took {mib:.0f} MiB"


def said_clearly(name: str, code: int, captured: Any) -> None:
    """Exit code 0, or 2 with one sentence."""
    lines = captured.err.splitlines()
    assert code in (0, 2), f"{name}: exit code {code}"
    assert code == 0 or (len(lines) == 1 and lines[0].startswith("mirl: error: ")), f"{name}: {captured.err}"


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    return whole_pictures()


@pytest.fixture(scope="session", autouse=True)
def compiled(make_ticket: Callable[..., Any]) -> None:
    """What is compiled once is no case's time."""
    for name in ("nafnet", "promptir"):
        Restorer(make_ticket(name))(np.zeros((8, 8, 3), np.uint8))


@pytest.fixture(scope="session")
def tickets(
    make_ticket: Callable[..., Any], does_nothing: Callable[..., Any], tmp_path_factory: Any
) -> list[bytes]:
    folder = tmp_path_factory.mktemp("tickets")
    files = []
    for number, ticket in enumerate([make_ticket(), does_nothing(), make_ticket("promptir")]):
        ticket_format.write(ticket, folder / f"{number}.safetensors")
        files.append((folder / f"{number}.safetensors").read_bytes())
    return files


def _status(field: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
