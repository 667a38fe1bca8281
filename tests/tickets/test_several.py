"""Tickets of version 3: several masks over one set of weights, and which of them is used."""

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
from pydantic import ValidationError

from mirl.config import UserError
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import ONE, Masks
from mirl.tickets.header import MOST_MASKS
from mirl.tickets.pack import packed
from mirl.tickets.reading import inspect
from mirl.tickets.routing import ROUTINGS, ByTask, Routing, Static
from mirl.tickets.ticket import Ticket
from mirl.tickets.values import DTYPES, ValueKind
from mirl.tickets.writing import write
from tests.tickets.page import mask_by_the_page
from tests.tickets.unfitted import read

GOLDEN = Path(__file__).with_name("golden-3.safetensors")
GOLDEN_ROUTED = Path(__file__).with_name("golden-routed.safetensors")
SECOND = Path(__file__).with_name("golden.safetensors")
Same = Callable[[Ticket, Ticket], bool]


def test_todays_writer_makes_the_golden_bytes(several: Ticket, same: Same, tmp_path: Path) -> None:
    write(several, tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == GOLDEN.read_bytes()
    assert same(read(GOLDEN), several) and list(read(GOLDEN).masks) == ["easy", "medium", "hard"]
    write(read(GOLDEN), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == GOLDEN.read_bytes()


def test_todays_writer_makes_the_golden_bytes_of_a_routed_ticket(
    routed: Ticket, same: Same, tmp_path: Path
) -> None:
    write(routed, tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == GOLDEN_ROUTED.read_bytes()
    assert same(read(GOLDEN_ROUTED), routed)
    write(read(GOLDEN_ROUTED), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == GOLDEN_ROUTED.read_bytes()


def test_the_routed_golden_file_can_be_read_by_the_specification_alone(routed: Ticket) -> None:
    data = GOLDEN_ROUTED.read_bytes()
    length = int.from_bytes(data[:8], "little")
    index, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header = json.loads(index["__metadata__"]["mirl"])
    assert (header["version"], header["network"]["router"]) == (3, {"outputs": 3, "channels": 2})
    routing = header["routing"]
    assert set(routing) == {"kind", "levels", "patch", "curve", "work"} and routing["kind"] == "difficulty"
    assert routing["levels"] == {"easy": 0.2, "medium": 0.5, "hard": 1.0}
    assert (routing["patch"], routing["work"]) == (64, 0.55)
    rising = routing["curve"]
    assert [set(point) for point in rising] == [{"price", "work", "shares"}] * 3
    assert [point["work"] for point in rising] == [0.2, 0.55, 1.0]
    assert [point["price"] for point in rising] == [2.5, 0.5, -1.0]
    start, end = index["full.router.score.weight"]["data_offsets"]
    score = np.frombuffer(body[start:end], "<f4").reshape(3, 2)
    assert np.array_equal(score, routed.state["router.score.weight"].numpy())


def test_the_golden_file_can_be_read_by_the_specification_alone(several: Ticket) -> None:
    data = GOLDEN.read_bytes()
    length = int.from_bytes(data[:8], "little")
    index, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header = json.loads(index.pop("__metadata__")["mirl"])
    assert header["version"] == 3
    assert header["routing"] == {"kind": "task", "tasks": {"dehaze": "hard", "denoise_15": "easy",
                                 "denoise_25": "medium", "derain": "hard"}}  # fmt: skip
    held = {name: body[slice(*part["data_offsets"])] for name, part in index.items()}
    for place, name in enumerate(sorted(header["shapes"])):
        n, k = math.prod(header["shapes"][name]), len(held[f"kept.{name}"]) // 4
        union = np.array(mask_by_the_page(held[f"mask.{name}"], n, k))
        for number, mask in enumerate(header["masks"]):
            keep = np.zeros(n, bool)
            keep[union] = mask_by_the_page(held[f"sub.{number}.{name}"], k, mask["kept"][place])
            assert np.array_equal(keep.reshape(header["shapes"][name]), several.masks[mask["name"]][name])


def test_it_is_the_oldest_version_that_can_hold_the_ticket(
    ticket: Ticket, several: Ticket, tmp_path: Path
) -> None:
    named = replace(ticket, masks=Masks({"hard": ticket.mask}))
    told = replace(ticket, routing=ByTask(kind="task", tasks={"derain": ONE}))
    for version, given_ in ((2, ticket), (3, named), (3, told), (3, several)):
        write(given_, tmp_path / "t")
        assert inspect(tmp_path / "t")["version"] == version
    write(ticket, tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == SECOND.read_bytes()


@st.composite
def _models(draw: st.DrawFn) -> tuple[Masks, Routing]:
    """One to five masks, nested or not, empty or everything, of two parameters; and a routing that fits them."""
    seed, count, nested = draw(st.integers(0, 99)), draw(st.integers(1, 5)), draw(st.booleans())
    shapes = {"w": draw(st.lists(st.integers(1, 5), max_size=3)), "a.v": [draw(st.integers(1, 40))]}
    generator = torch.Generator().manual_seed(seed)
    levels = draw(
        st.lists(st.sampled_from([0.0, 0.05, 0.3, 0.6, 1.0]), min_size=count, max_size=count).map(sorted)
    )
    chance = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    masks = {}
    for number, level in enumerate(levels):
        if not nested:
            chance = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
        masks[f"m{number}"] = Mask({name: uniform < level for name, uniform in chance.items()})
    kind = draw(st.sampled_from(sorted(ROUTINGS)))
    if kind == "static":
        return Masks({"m0": masks["m0"]}), Static()
    twice = {f"too-{name}": name for name in masks} if draw(st.booleans()) else {}
    return Masks(masks), ByTask(kind="task", tasks={f"for-{name}": name for name in masks} | twice)


@given(model=_models(), values=st.sampled_from(sorted(DTYPES)))
@settings(max_examples=80, deadline=None)
def test_any_masks_and_routing_come_back(
    model: tuple[Masks, Routing], values: ValueKind, tmp_path_factory: pytest.TempPathFactory
) -> None:
    masks, routing = model
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.randn(keep.shape, generator=generator) for name, keep in masks.union.items()}
    state = masks.union.apply(weights | {"bias": torch.randn(2, generator=generator)})
    ticket = replace(read(SECOND), state=state, masks=masks, routing=routing, sha256="")
    path = tmp_path_factory.mktemp("ticket") / "t"
    write(ticket, path)
    back = read(path)
    if values != "fp32":
        ticket = packed(back, values)
        write(ticket, path)
        back = read(path)
        assert back.values.packed_from
    assert (back.masks, back.routing, back.densities) == (masks, routing, ticket.densities)
    assert back.masks.nested == masks.nested and inspect(path)["version"] == 3
    assert all(torch.equal(back.state[name], tensor) for name, tensor in ticket.state.items())
    digest = back.sha256
    assert write(back, path) == digest


def test_what_is_nested_costs_next_to_nothing(ticket: Ticket, tmp_path: Path) -> None:
    """Where a mask is the union or nothing, it takes no bytes beside its name and its tensor's."""
    n = 100_000
    chance = torch.rand(n, generator=torch.Generator().manual_seed(0))
    hard = Mask({"w": chance < 0.1})
    sizes = []
    for level in (0.1, 0.05):
        masks = Masks({"easy": Mask({"w": chance < level}), "hard": hard})
        tasks = {"derain": "easy", "dehaze": "hard"}
        given_ = replace(
            ticket,
            state=hard.apply({"w": torch.ones(n)}),
            masks=masks,
            routing=ByTask(kind="task", tasks=tasks),
        )
        write(given_, tmp_path / "t")
        sizes.append((tmp_path / "t").stat().st_size)
    write(replace(ticket, state=given_.state, masks=Masks.one(hard)), tmp_path / "one")
    one = (tmp_path / "one").stat().st_size
    assert sizes[0] - one < 500  # names and shapes
    assert 10_000 / 8 < sizes[1] - sizes[0] < 1.05 * 10_000 / 8  # a bit for each weight that stays


def test_what_nobody_could_read_is_not_written(several: Ticket, tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(MOST_MASKS + 1)]
    many = replace(
        several,
        masks=Masks(dict.fromkeys(names, several.mask)),
        routing=ByTask(kind="task", tasks={name: name for name in names}),
    )
    with pytest.raises(UserError, match="would have 65 masks, expected at most 64"):
        write(many, tmp_path / "t")
    odd = replace(several, masks=Masks({"a b": several.mask}), routing=Static())
    with pytest.raises(ValidationError):
        write(odd, tmp_path / "t")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("routing", "sentence"),
    [
        (Static(), "has one mask to choose, got 3"),
        (ByTask(kind="task", tasks={"derain": "hard", "dehaze": "easy"}), "never chooses the mask medium"),
        (ByTask(kind="task", tasks={"derain": "hard", "dehaze": "odd"}), "the mask odd, which is not there"),
    ],
)
def test_a_model_has_the_masks_that_its_routing_chooses(routing: Any, sentence: str, several: Ticket) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(several, routing=routing)
