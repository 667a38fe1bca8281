from collections.abc import Callable

import pytest
import torch

from mirl.methods.plan import Parent
from mirl.networks import NetworkSection
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks

NETWORK = NetworkSection(name="nafnet")
"""Methods do not look into it."""
PRUNABLE = ("body.weight", "head.weight", "prompts")


def _state(seed: int) -> State:
    """What a network's state may hold: weights, prompts, norms, biases, temperatures, a counter."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "body.weight": (8, 4, 3, 3), "head.weight": (10, 8), "prompts": (1, 5, 4), "body.bias": (8,),
        "norm.weight": (8,), "norm.bias": (8,), "temperature": (2, 1, 1),
    }  # fmt: skip
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return state | {"batches_seen": torch.tensor(seed)}


@pytest.fixture
def initialise() -> Callable[[int], State]:
    return _state


@pytest.fixture
def make_parent() -> Callable[[float], Parent]:
    """A trained parent of the given density; its origin is a later step of network seed 0."""

    def make(density: float) -> Parent:
        origin, trained = _state(0), _state(7)
        draw = torch.Generator().manual_seed(1)
        mask = Mask({name: torch.rand(origin[name].shape, generator=draw) < density for name in PRUNABLE})
        return Parent(
            network=NETWORK, state=mask.apply(trained), masks=Masks.one(mask), origin=origin, origin_step=0
        )

    return make
