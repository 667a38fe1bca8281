import pytest

from mirl.config import UserError
from mirl.tickets.routing import ROUTINGS, Routing


@pytest.mark.parametrize("kind", ROUTINGS)
def test_every_kind_reads_what_it_writes(kind: str) -> None:
    routing = ROUTINGS[kind].read({"kind": kind}, "test")
    assert ROUTINGS[kind].read(routing.model_dump(mode="json"), "test") == routing


def test_the_one_mask_is_the_default() -> None:
    assert Routing().kind == "static"
    with pytest.raises(UserError, match="kind"):
        Routing.read({"kind": "by-mood"}, "test")
