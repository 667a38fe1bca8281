from dataclasses import replace

import pytest
from pydantic import ValidationError

from mirl.config import UserError
from mirl.tickets.lineage import Lineage
from mirl.tickets.ticket import Ticket


def test_densities_over_prunable_and_over_all(ticket: Ticket) -> None:
    assert ticket.densities.prunable == 11 / 24
    assert ticket.densities.all == (11 + 2 + 1) / (24 + 2 + 1)  # the integer counter is no parameter


@pytest.mark.parametrize(
    "change",
    [
        {"parent": "dense"},
        {"fingerprint": ""},
        {"round": -1},
        {"steps": 1.5},
        {"data": "A" * 64},
        {"extra": 1},
    ],
)
def test_a_lineage_is_checked(ticket: Ticket, change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        type(ticket.lineage).model_validate(ticket.lineage.model_dump() | change)


def test_a_root_has_neither_parent_nor_data(ticket: Ticket) -> None:
    root = type(ticket.lineage).model_validate(
        ticket.lineage.model_dump() | {"parent": "", "data": "", "arm": ""}
    )
    assert replace(ticket, lineage=root).lineage.parent == ""


@pytest.mark.parametrize("field", ["name", "arm", "method"])
@pytest.mark.parametrize("value", ["--force", "../x", "a b", "$(x)", "a\x1b[2J", "a\n"])
def test_a_name_in_a_lineage_has_the_form_of_one(ticket: Ticket, field: str, value: str) -> None:
    plain = ticket.lineage.model_dump()
    with pytest.raises(UserError, match=f"header: `{field}` is ") as caught:
        Lineage.read(plain | {field: value}, "header")
    assert str(caught.value).isprintable()
