"""A ticket whose router chooses a sub-network for each patch, by how bright that is."""

from dataclasses import replace
from typing import Any

import torch

from mirl import networks
from mirl.networks import NetworkSection
from mirl.networks.router import RouterSection
from mirl.sparsity.accounting import once_per_image
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.tickets.routing import ByDifficulty
from mirl.tickets.ticket import Ticket
from tests.conftest import TINY

MASKS = {"easy": 0.3, "medium": 0.6, "hard": 1.0}
PATCH = 32


def routed_ticket(make_ticket: Any, name: str) -> Ticket:
    """A ticket with a router that looks at how bright a patch is."""
    options = {**TINY[name], "width": 8}
    if name == "nafnet":
        options["shuffle"] = 1
    ticket = make_ticket(name, options=options)
    router = RouterSection(outputs=3, channels=4)
    section = NetworkSection(name=name, options=options, seed=3, router=router)
    state = {key: tensor.detach().clone() for key, tensor in networks.build(section).state_dict().items()}
    state["router.squares.weight"] = torch.full((4, 3, 4, 4), 1 / 48)
    state["router.hidden.0.weight"] = state["router.hidden.1.weight"] = torch.eye(4)[:, :, None, None]
    brightness = torch.tensor([[1.0] * 4 + [0.0] * 4]) / 4
    state["router.score.weight"] = torch.tensor([[-1.0], [0.0], [1.0]]) * brightness
    state |= {
        key: torch.zeros_like(x) for key, x in state.items() if key.startswith("router.") and "bias" in key
    }
    outline, draw = networks.outline(section), torch.Generator().manual_seed(4)
    once = once_per_image(outline, ticket.mask, outline.multiple)
    drawn = {key: torch.rand(keep.shape, generator=draw) for key, keep in ticket.mask.items()}
    masks = Masks(
        {
            mask: Mask(
                {
                    key: torch.ones_like(x, dtype=torch.bool) if key in once else x < share
                    for key, x in drawn.items()
                }
            )
            for mask, share in MASKS.items()
        }
    )
    routing = {
        "kind": "difficulty", "levels": {"easy": 0.3, "medium": 0.6, "hard": 1.0}, "patch": PATCH, "work": 0.5,
        "curve": [
            {"price": 1.5, "work": 0.3, "shares": [1.0, 0.0, 0.0]},
            {"price": 0.1, "work": 1.0, "shares": [0.0, 0.0, 1.0]},
        ],
    }  # fmt: skip
    return replace(
        ticket, network=section, state=state, masks=masks, routing=ByDifficulty.read(routing, "a ticket")
    )
