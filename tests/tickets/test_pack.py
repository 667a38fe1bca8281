from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mirl.config import UserError
from mirl.tickets.pack import packed
from mirl.tickets.reading import inspect
from mirl.tickets.ticket import Ticket
from mirl.tickets.values import ValueKind, Values
from mirl.tickets.writing import write
from tests.tickets.unfitted import read


@pytest.fixture
def trained(ticket: Ticket, tmp_path: Path) -> Ticket:
    write(ticket, tmp_path / "trained")
    return read(tmp_path / "trained")


@pytest.mark.parametrize("kind", ["fp16", "bf16", "int8"])
def test_a_packed_ticket_is_the_same_with_rounded_weights(
    kind: ValueKind, trained: Ticket, tmp_path: Path
) -> None:
    small = packed(trained, kind)
    digest = write(small, tmp_path / "small")
    back = read(tmp_path / "small")
    assert back.sha256 == digest != trained.sha256
    assert back.values == Values(kind=kind, packed_from=trained.sha256)
    assert (back.mask, back.lineage, back.densities) == (trained.mask, trained.lineage, trained.densities)
    for name, tensor in back.state.items():
        assert torch.equal(tensor, small.state[name]) and tensor.dtype == trained.state[name].dtype
        if name not in back.mask:
            assert torch.equal(tensor, trained.state[name])
    assert torch.allclose(back.state["body.weight"], trained.state["body.weight"], atol=2.125 / 254)
    assert not back.state["body.weight"][~back.mask["body.weight"]].any()
    assert inspect(tmp_path / "small")["values"]["kind"] == kind
    assert write(back, tmp_path / "again") == digest


def test_nothing_is_rounded_twice(trained: Ticket, tmp_path: Path) -> None:
    write(packed(trained, "bf16"), tmp_path / "small")
    with pytest.raises(UserError, match=f"values are bf16, rounded from ticket {trained.sha256[:12]}"):
        packed(read(tmp_path / "small"), "int8")


def test_a_weight_that_16_bits_do_not_hold(trained: Ticket) -> None:
    trained.state["head.weight"][0, 0] = 70_000.0
    with pytest.raises(UserError, match=r"head\.weight is too large for fp16"):
        packed(trained, "fp16")
    assert packed(trained, "bf16").state["head.weight"][0, 0] == 70_144


def test_weights_that_are_not_rounded_are_not_written_as_if(trained: Ticket, tmp_path: Path) -> None:
    odd = replace(
        trained,
        state=trained.state | {"head.weight": trained.state["head.weight"] / 3},
        values=Values(kind="fp16", packed_from="1" * 64),
    )
    with pytest.raises(AssertionError, match="not rounded to fp16"):
        write(odd, tmp_path / "odd")
