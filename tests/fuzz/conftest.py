"""Whole files to spoil, and what holds for whatever comes of them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mirl.restore.restorer import Restorer
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets import reading, writing
from mirl.tickets.pack import packed
from mirl.tickets.routing import ByTask, Static
from mirl.tickets.ticket import Ticket
from tests.fuzz.measuring import measured
from tests.fuzz.pictures import whole_pictures
from tests.routed_ticket import routed_ticket

SECONDS = 10
"""A case that takes longer has hung, also on a busy machine."""
MIB = 300
"""By which a case may make the process grow: the budget it is given is 128 MiB beside the decoder's and the file's."""


@contextmanager
def within_bounds(name: str) -> Iterator[None]:
    """Fails where a case takes too long or too much memory."""
    began = time.monotonic()
    with measured() as taken:
        yield
    seconds = time.monotonic() - began
    assert seconds < SECONDS, f"{name} took {seconds:.1f} s"
    assert taken.mib < MIB, f"{name} took {taken.mib:.0f} MiB"


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
def several(make_ticket: Callable[..., Any]) -> Callable[..., Ticket]:
    """A ticket with masks of so many levels, nested or not, told by their tasks: where there is one, it always runs."""

    def make(name: str, levels: list[float], nested: bool) -> Ticket:
        whole = make_ticket(name)
        draw = torch.Generator().manual_seed(1)
        chance = {key: torch.rand(keep.shape, generator=draw) for key, keep in whole.mask.items()}
        masks = {}
        for number, level in enumerate(levels):
            if not nested:
                chance = {key: torch.rand(keep.shape, generator=draw) for key, keep in whole.mask.items()}
            masks[f"level-{number}"] = Mask({key: uniform < level for key, uniform in chance.items()})
        routing = (
            ByTask(kind="task", tasks={"derain": "level-1"} | {f"task-{name}": name for name in masks})
            if len(masks) > 1
            else Static()
        )
        state = Masks(masks).union.apply(whole.state)
        return replace(whole, masks=Masks(masks), routing=routing, state=state)

    return make


@pytest.fixture(scope="session")
def tickets(
    make_ticket: Callable[..., Any],
    several: Callable[..., Ticket],
    does_nothing: Callable[..., Any],
    tmp_path_factory: Any,
) -> list[bytes]:
    folder = tmp_path_factory.mktemp("tickets")
    files = []
    made = [make_ticket(), does_nothing(), make_ticket("promptir"), several("nafnet", [0.2, 0.5, 0.9], True)]
    made.append(routed_ticket(make_ticket, "nafnet"))
    for number, ticket in enumerate(made):
        writing.write(ticket, folder / f"{number}.safetensors")
        files.append((folder / f"{number}.safetensors").read_bytes())
    return files


@pytest.fixture(scope="session")
def readable(
    make_ticket: Callable[..., Any], several: Callable[..., Ticket], tmp_path_factory: Any
) -> list[bytes]:
    """Good tickets of every kind of values, of few weights, of one mask and of several, and a state."""
    folder = tmp_path_factory.mktemp("readable")
    made = []
    for name in ("nafnet", "restormer", "promptir"):
        whole = make_ticket(name)
        draw = torch.Generator().manual_seed(0)
        mask = Mask({key: torch.rand(keep.shape, generator=draw) < 0.1 for key, keep in whole.mask.items()})
        sparse = replace(whole, masks=Masks.one(mask), state=mask.apply(whole.state))
        writing.write(sparse, folder / "sparse")
        made += [whole, sparse, packed(reading.read(folder / "sparse"), "int8")]
    made += [several("nafnet", [0.0, 0.2, 0.9], True), several("restormer", [0.3], True)]
    made += [routed_ticket(make_ticket, name) for name in ("nafnet", "promptir")]
    writing.write(several("promptir", [0.3, 1.0, 0.1, 0.3], False), folder / "several")
    made.append(packed(reading.read(folder / "several"), "int8"))
    files = []
    for ticket in made:
        writing.write(ticket, folder / "ticket")
        files.append((folder / "ticket").read_bytes())
    writing.write_state(made[0].state, folder / "origin", 5)
    return [*files, (folder / "origin").read_bytes()]
