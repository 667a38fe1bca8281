"""What every test gets: one torch thread, and tiny tickets.

Tests share the cores with each other and with other programs: two threads that wait for each other are slower.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mirl.networks import NetworkSection, build, prunable
from mirl.sparsity.mask import Mask, State
from mirl.tickets import format as ticket_format
from mirl.tickets.ticket import Lineage, Ticket

torch.set_num_threads(1)

TINY: dict[str, dict[str, Any]] = {
    "nafnet": {"width": 4, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 2},
    "restormer": {"width": 4, "blocks": [1, 1], "refinement": 1, "heads": [1, 2]},
    "promptir": {
        "width": 4, "blocks": [1, 1], "refinement": 1, "heads": [1, 2],
        "prompt_components": 2, "prompt_channels": [4], "prompt_sizes": [4],
    },
}  # fmt: skip
"""Of every network the smallest that has all its parts."""

MakeTicket = Callable[..., Ticket]


@pytest.fixture
def make_ticket() -> MakeTicket:
    """An unpruned ticket; `change` sees the state before it is put in."""

    def make(
        name: str = "nafnet",
        change: Callable[[State], Any] = lambda state: None,
        options: dict[str, Any] | None = None,
    ) -> Ticket:
        section = NetworkSection(name=name, options=options or TINY[name], seed=3)
        network = build(section)
        state = {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
        change(state)
        lineage = Lineage(
            name="tiny", arm="", method="init", round=0, parent="", fingerprint="0" * 64, seed=3, steps=0,
            origin_step=0, data="", settings={},
        )  # fmt: skip
        mask = Mask.full(prunable(network, prompts=False))
        return Ticket(network=section.model_dump(), state=state, mask=mask, lineage=lineage)

    return make


@pytest.fixture
def does_nothing(make_ticket: MakeTicket) -> MakeTicket:
    """A ticket whose output is its input: every tensor is zero, so the residual is."""
    return lambda name="nafnet": make_ticket(name, lambda state: [t.zero_() for t in state.values()])


@pytest.fixture
def ticket_file(does_nothing: MakeTicket, tmp_path: Path) -> Path:
    path = tmp_path / "ticket.safetensors"
    ticket_format.write(does_nothing(), path)
    return path
