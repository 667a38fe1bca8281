"""Tickets that name a network which is none of mirl's."""

import sys
from pathlib import Path
from typing import Any

import pytest

from mirl.config import UserError
from mirl.networks import allow, imported
from mirl.tickets import reading, writing
from mirl.tickets.ticket import Ticket
from tests.fuzz.forge import forged
from tests.own_network import NAME, TRACE, UNET, write_network

pytestmark = pytest.mark.usefixtures("nothing_allowed")


@pytest.fixture
def ticket(tmp_path: Path, make_ticket: Any) -> Ticket:
    write_network(tmp_path)
    allow(NAME, tmp_path)
    made: Ticket = make_ticket(NAME, options={"width": 4})
    return made


def test_it_is_written_and_read_back(ticket: Ticket, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    sha256 = writing.write(ticket, path)
    back = reading.read(path)
    assert (back.network, back.sha256) == (ticket.network, sha256)
    assert reading.inspect(path)["network"] == {
        "name": NAME, "options": {"width": 4}, "seed": 3, "prune_prompts": False, "source": ticket.network.source,
    }  # fmt: skip


@pytest.mark.parametrize("more", [{}, {"source": ""}])
def test_one_that_does_not_say_its_source_is_refused(ticket: Ticket, more: dict, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    writing.write(ticket, path)
    file = forged(path.read_bytes())
    del file.header["network"]["source"]
    file.header["network"] |= more
    file.write(path)
    for read in (reading.read, reading.inspect):
        with pytest.raises(UserError, match=r"t\.safetensors does not say which source its network has"):
            read(path)


@pytest.mark.parametrize(
    "name", ["os:system", "mynets.unet:TinyUNet", "mynets.trap:TinyUNet", "tests.own_network:UNET"]
)
def test_one_that_names_what_was_not_allowed_imports_nothing(
    name: str, ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, trap = tmp_path / "t.safetensors", tmp_path / "mynets" / "trap.py"
    trap.write_text(TRACE + UNET)
    writing.write(ticket, path)
    file = forged(path.read_bytes())
    file.header["network"]["name"] = name
    file.write(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    if name == NAME:
        imported._allowed.clear()
    assert reading.inspect(path)["network"]["name"] == name
    with pytest.raises(
        UserError, match=rf"t\.safetensors: the network {name} is none of mirl's: .*not allowed"
    ):
        reading.read(path)
    assert not trap.with_suffix(".ran").exists()


def test_weights_of_another_size_do_not_fit(ticket: Ticket, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    writing.write(ticket, path)
    file = forged(path.read_bytes())
    file.header["network"]["options"] = {"width": 5}
    file.write(path)
    with pytest.raises(UserError, match="the ticket's weights do not fit its network"):
        reading.read(path)
