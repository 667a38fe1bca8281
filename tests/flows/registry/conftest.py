"""A study that has decided on a ticket."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mirl.restore.restorer import Restorer
from mirl.tickets.reading import read
from tests.flows.registry.tiny import scored

Make = Callable[..., Path]


@pytest.fixture
def decided(root: Path, make_ticket: Make, make_scores: Make, make_report: Make) -> Callable[..., None]:
    """Trains, evaluates and decides on ticket `global-r1`; another seed makes another ticket."""

    def decide(seed: int = 0) -> None:
        folder = make_ticket(seed=seed, density=0.7 - 0.1 * seed)  # a later one is sparser
        ticket = read(folder / "ticket.safetensors")
        scored(Restorer(ticket).run).to_parquet(make_scores() / "scores.parquet")
        make_report("global-r1", sha256=ticket.sha256)

    return decide
