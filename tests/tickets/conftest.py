import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mirl.networks import NetworkSection
from mirl.networks.router import RouterSection
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.tickets.container import seal
from mirl.tickets.lineage import Lineage
from mirl.tickets.routing import ByDifficulty, ByTask, Point
from mirl.tickets.ticket import Ticket

NAMES = ("body.weight", "body.bias", "head.weight", "gone.weight", "temperature", "batches_seen")


@pytest.fixture
def ticket() -> Ticket:
    """11 of 24 prunable weights, an empty layer, a bias, a scalar, an integer; the golden file holds it."""
    body_OIHW = torch.arange(18.0).sub(8.5).div(4).view(2, 1, 3, 3).to(memory_format=torch.channels_last)
    mask = Mask(
        {
            "body.weight": torch.arange(18).view(2, 1, 3, 3) % 2 == 0,
            "head.weight": torch.tensor([[True, False], [False, True]]),
            "gone.weight": torch.zeros(2, dtype=torch.bool),
        }
    )
    state = {
        "temperature": torch.tensor(0.5),
        "body.weight": body_OIHW,
        "body.bias": torch.tensor([1.5, -0.25]),
        "head.weight": torch.tensor([[0.0, 7.0], [7.0, -1e-30]]),  # the first is kept, and exactly zero
        "gone.weight": torch.ones(2),
        "batches_seen": torch.tensor(12),
    }
    lineage = Lineage(
        name="global-r1", arm="global", method="imp", round=2, parent="1" * 64, fingerprint="2" * 64, seed=3,
        steps=1400, origin_step=50, data="4" * 64, settings={"train": {"steps": 1400}, "arm": {"fraction": 0.3}},
    )  # fmt: skip
    network = NetworkSection(
        name="nafnet", options={"width": 8, "encoder": [1, 1]}
    )  # the weights are not its own
    return Ticket(network=network, state=mask.apply(state), masks=Masks.one(mask), lineage=lineage)


@pytest.fixture
def several(ticket: Ticket) -> Ticket:
    """The same weights under three masks, each inside the next, and by the task one of them; golden-3 holds it."""
    none = torch.zeros(2, dtype=torch.bool)
    corner = torch.tensor([[True, False], [False, False]])
    every = {step: torch.arange(18).view(2, 1, 3, 3) % step == 0 for step in (4, 8)}
    easy = {"body.weight": every[8], "head.weight": torch.zeros_like(corner), "gone.weight": none}
    medium = {"body.weight": every[4], "head.weight": corner, "gone.weight": none}
    masks = Masks({"easy": Mask(easy), "medium": Mask(medium), "hard": ticket.mask})
    tasks = {"denoise_15": "easy", "denoise_25": "medium", "derain": "hard", "dehaze": "hard"}
    return replace(ticket, masks=masks, routing=ByTask(kind="task", tasks=tasks))


@pytest.fixture
def routed(several: Ticket) -> Ticket:
    """The same masks, and a router that chooses one of them for each patch; golden-routed holds it."""
    router = RouterSection(outputs=3, channels=2)
    curve = [
        Point(price=2.5, work=0.2, shares=[1.0, 0.0, 0.0]),
        Point(price=0.5, work=0.55, shares=[0.25, 0.5, 0.25]),
        Point(price=-1.0, work=1.0, shares=[0.0, 0.0, 1.0]),
    ]
    routing = ByDifficulty(
        kind="difficulty", levels={"easy": 0.2, "medium": 0.5, "hard": 1.0}, patch=64, work=0.55, curve=curve
    )
    return replace(
        several,
        network=several.network.model_copy(update={"router": router}),
        state={**several.state, "router.score.weight": torch.arange(6.0).sub(2.5).view(3, 2)},
        routing=routing,
    )


@pytest.fixture
def same() -> Callable[[Ticket, Ticket], bool]:
    """Whether two tickets are equal but for the file they were read from."""

    def compare(one: Ticket, other: Ticket) -> bool:
        plain = [(t.network, t.routing, t.lineage, t.densities, sorted(t.state)) for t in (one, other)]
        return (
            plain[0] == plain[1]
            and one.masks == other.masks
            and all(
                torch.equal(tensor, other.state[name]) and tensor.dtype == other.state[name].dtype
                for name, tensor in one.state.items()
            )
        )

    return compare


@pytest.fixture
def forge() -> Callable[[Path, Callable[[dict[str, Any], State], Any]], None]:
    """Changes header and tensors of a file as a faulty writer would: well-formed and sealed."""

    def change_and_seal(path: Path, change: Callable[[dict[str, Any], State], Any]) -> None:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["mirl"])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        change(header, tensors)
        header.pop("content", None)
        save_file(tensors, path, {"mirl": json.dumps(header | {"content": seal(header, tensors)})})

    return change_and_seal
