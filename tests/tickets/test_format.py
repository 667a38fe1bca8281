import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirl.config import UserError
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets.container import sha256_of
from mirl.tickets.reading import inspect, read_state
from mirl.tickets.ticket import Ticket
from mirl.tickets.writing import write, write_state
from tests.tickets.page import mask_by_the_page
from tests.tickets.unfitted import read

GOLDEN = Path(__file__).with_name("golden.safetensors")
FIRST = Path(__file__).with_name("golden-1.safetensors")
"""The same ticket, as version 1 wrote it."""
Forge = Callable[[Path, Callable[[dict[str, Any], dict[str, torch.Tensor]], Any]], None]
Same = Callable[[Ticket, Ticket], bool]


def test_a_ticket_comes_back_as_it_was(ticket: Ticket, same: Same, tmp_path: Path) -> None:
    digest = write(ticket, tmp_path / "t.safetensors")
    back = read(str(tmp_path / "t.safetensors"))
    assert same(ticket, back)
    assert back.sha256 == digest == sha256_of(tmp_path / "t.safetensors")


def test_todays_writer_makes_the_golden_bytes(ticket: Ticket, same: Same, tmp_path: Path) -> None:
    write(ticket, tmp_path / "t.safetensors")
    assert (tmp_path / "t.safetensors").read_bytes() == GOLDEN.read_bytes()
    assert same(read(GOLDEN), ticket)


def test_the_golden_file_can_be_read_by_the_specification_alone(ticket: Ticket) -> None:
    data = GOLDEN.read_bytes()
    length = int.from_bytes(data[:8], "little")
    index, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header = json.loads(index.pop("__metadata__")["mirl"])
    for name, shape in header["shapes"].items():
        mask, kept = (body[slice(*index[f"{part}.{name}"]["data_offsets"])] for part in ("mask", "kept"))
        keep = mask_by_the_page(mask, math.prod(shape), len(kept) // 4)
        weight = np.zeros(math.prod(shape), "<f4")
        weight[keep] = np.frombuffer(kept, "<f4")
        assert np.array_equal(weight.reshape(shape), ticket.state[name].numpy())


def test_version_1_can_be_read(ticket: Ticket, same: Same) -> None:
    assert same(read(FIRST), ticket) and read(FIRST).values == ticket.values
    assert inspect(FIRST) | {"version": 2, "content": ""} == inspect(GOLDEN) | {"content": ""}


def test_writing_what_was_read_gives_the_same_bytes(tmp_path: Path) -> None:
    write(read(GOLDEN), tmp_path / "t.safetensors")
    assert (tmp_path / "t.safetensors").read_bytes() == GOLDEN.read_bytes()


@given(
    shape=st.lists(st.integers(1, 5), max_size=3),
    seed=st.integers(0, 99),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_any_shape_and_density_comes_back(
    shape: list[int], seed: int, density: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    draw = torch.Generator().manual_seed(seed)
    mask = Mask({"w": torch.rand(shape, generator=draw) < density})
    state = mask.apply({"w": torch.randn(shape, generator=draw), "bias": torch.randn(2, generator=draw)})
    path = tmp_path_factory.mktemp("ticket") / "t.safetensors"
    write(replace(read(GOLDEN), state=state, masks=Masks.one(mask)), path)
    back = read(path)
    assert back.mask == mask and all(torch.equal(back.state[name], state[name]) for name in state)


def test_the_memory_format_does_not_show(ticket: Ticket, tmp_path: Path) -> None:
    full_OIHW = torch.arange(24.0).view(1, 6, 2, 2)
    plain = write(replace(ticket, state=ticket.state | {"f": full_OIHW}), tmp_path / "plain")
    last_OIHW = full_OIHW.to(memory_format=torch.channels_last)
    assert write(replace(ticket, state=ticket.state | {"f": last_OIHW}), tmp_path / "last") == plain


def test_a_sparse_file_is_small(ticket: Ticket, tmp_path: Path) -> None:
    mask = Mask({"w": torch.arange(100_000) % 10 == 0})
    write(
        replace(ticket, state=mask.apply({"w": torch.ones(100_000)}), masks=Masks.one(mask)),
        tmp_path / "t.safetensors",
    )
    assert (tmp_path / "t.safetensors").stat().st_size < 5 * 10_000 + 2000


def test_inspect_reads_the_header_alone(tmp_path: Path) -> None:
    data = bytearray(GOLDEN.read_bytes())
    data[-1] ^= 1
    (tmp_path / "t.safetensors").write_bytes(data)
    header = inspect(tmp_path / "t.safetensors")
    assert header["lineage"]["name"] == "global-r1" and header["network"]["name"] == "nafnet"
    assert header["density"]["prunable"] == 11 / 24
    assert header["kept"] == {"body.weight": 9, "gone.weight": 0, "head.weight": 2}
    json.dumps(header)
    with pytest.raises(UserError, match="changed after it was written"):
        read(tmp_path / "t.safetensors")


def test_a_weight_that_is_not_finite_is_never_written(ticket: Ticket, tmp_path: Path) -> None:
    ticket.state["body.bias"][1] = float("nan")
    with pytest.raises(UserError, match=r"body\.bias holds a value that is not finite"):
        write(ticket, tmp_path / "t.safetensors")
    with pytest.raises(UserError, match="not finite"):
        write_state(ticket.state, tmp_path / "t.safetensors", 1)
    assert not list(tmp_path.iterdir())


def test_a_masked_weight_that_is_not_zero_is_our_mistake(ticket: Ticket, tmp_path: Path) -> None:
    ticket.state["gone.weight"][0] = 1e-9
    with pytest.raises(AssertionError, match="not zero"):
        write(ticket, tmp_path / "t.safetensors")


@pytest.mark.parametrize("size", [0, 7, 8, 60, 1500, -1])
def test_a_truncated_ticket_is_refused(size: int, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(GOLDEN.read_bytes()[:size])
    for reader in (read, inspect):
        with pytest.raises(UserError, match="truncated"):
            reader(path)


def test_a_state_comes_back_with_its_step(ticket: Ticket, tmp_path: Path) -> None:
    write_state(ticket.state, tmp_path / "o.safetensors", 50)
    state, step = read_state(tmp_path / "o.safetensors")
    assert step == 50 and state.keys() == ticket.state.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in ticket.state.items())


def test_a_state_and_a_ticket_are_not_taken_for_each_other(ticket: Ticket, tmp_path: Path) -> None:
    write_state(ticket.state, tmp_path / "o.safetensors", 50)
    with pytest.raises(UserError, match="is not a mirl-ticket file"):
        read(tmp_path / "o.safetensors")
    with pytest.raises(UserError, match="is not a mirl-state file"):
        read_state(GOLDEN)


@pytest.mark.parametrize("step", [-1, "4", 1.5, None])
def test_a_state_without_a_step_is_refused(
    step: object, forge: Forge, ticket: Ticket, tmp_path: Path
) -> None:
    path = tmp_path / "o.safetensors"
    write_state(ticket.state, path, 50)
    forge(path, lambda header, tensors: header.update(step=step))
    with pytest.raises(UserError, match="no valid step"):
        read_state(path)
