"""A network of a user's own restores in torch, and in tiles if it asks a module for what it knows of the whole image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mirl.networks import allow
from mirl.restore.restorer import Restorer
from mirl.tickets.ticket import Ticket
from tests.own_network import NAME, write_network


@pytest.fixture
def ticket(tmp_path: Path, make_ticket: Any, nothing_allowed: None) -> Ticket:
    write_network(tmp_path)
    allow(NAME, tmp_path)
    made: Ticket = make_ticket(NAME, options={"width": 4})
    return made


def test_its_layers_are_not_replaced(ticket: Ticket) -> None:
    restorer = Restorer(ticket)
    image_BCHW = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected_BCHW = ticket.built().eval()(image_BCHW.to(memory_format=torch.channels_last))
    assert torch.equal(restorer.run(image_BCHW), expected_BCHW)
    assert not restorer._first.is_accelerated


def test_tiles_are_told_of_the_whole(ticket: Ticket) -> None:
    image_HWC = np.random.default_rng(0).integers(0, 60, (160, 208, 3), dtype=np.uint8)
    image_HWC[:, 100:] += 180
    whole = Restorer(ticket)
    tiled = Restorer(ticket, memory=whole.memory_for(112 * 112, image_HWC.shape[:2], 1))
    assert tiled.pixels(160, 208, 1) < 160 * 208
    error = np.abs(tiled(image_HWC).astype(int) - whole(image_HWC))
    assert error.mean() < 0.02 and error.max() <= 1
