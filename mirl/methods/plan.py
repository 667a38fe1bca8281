"""The method contract: a method is a planner. It sees weights and masks, no data, training, files or logs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor

from mirl.objectives import Objective, Reconstruction
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.tickets.model import SparseModel

Role = Literal["reference", "candidate", "control"]
"""What a method's tickets are for: others are compared with them, they may be promoted, or they are there to be beaten."""

Initialise = Callable[[int], State]
"""seed -> the complete state of the untrained network of that seed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parent(SparseModel):
    """What is believed after a round, and what the next one is planned from."""

    origin: State
    """Complete and unmasked, at the rewind step."""
    origin_step: int


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Which samples a round is trained on."""

    new: bool = False
    """Whether to draw others than the rounds before did: for weights that have been trained on those."""
    tasks: tuple[str, ...] = ()
    """The only restoration tasks that are drawn; empty: all that the study trains."""


class StoppingRule(Protocol):
    """Checks a training now and then, and may end it early. What it remembers is a state, kept by checkpoints."""

    every_steps: int

    def check(self, weights: State, seen: State) -> tuple[State, bool]:
        """(what to remember, whether the training has done its work), from the weights now and what it remembered.

        `seen` is empty at the first check.
        """
        ...


@dataclass(frozen=True)
class TrainToEnd(StoppingRule):
    """Trains to the end."""

    every_steps: int = 1 << 62

    def check(self, weights: State, seen: State) -> tuple[State, bool]:
        return seen, False


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan(SparseModel):
    """The model that the next round starts from, where the parent lies, and how it is trained.

    It shares no memory with the parent: training may write into the plan. Its network may be another than the parent's, with
    parts that the round adds.
    """

    start_step: int
    """Step of the whole schedule at which training begins."""
    objective: Objective = field(default_factory=Reconstruction)
    samples: Samples = field(default_factory=Samples)
    length: float = 1.0
    """Share, in (0, 1], of the schedule's steps that it is shortened to: the same warm-up and cosine in fewer steps."""
    stopping_rule: StoppingRule = field(default_factory=TrainToEnd)
    frozen: Mapping[str, Tensor] = field(default_factory=dict)
    """Bool per element, True = frozen; any parameter, prunable or not."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Beginning of a parameter's name -> factor of its learning rate, at least 0; the longest that fits counts, else 1."""
    origin: State | None = None
    """Complete state that the next round rewinds to, at `start_step`; None: the training records it."""


class Method(Protocol):
    """Answers two questions: what is the next round, and what is believed once it has been trained."""

    role: ClassVar[Role]

    def __init__(self, arm: Any) -> None: ...

    @property
    def continues(self) -> bool:
        """Whether a round's weights go on from the parent's, and have been trained for as long and a round more."""
        return False

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        """The round after `parent`. Raises UserError if the settings ask for what this parent cannot give."""
        ...

    def absorb(self, plan: Plan, weights: State, origin: State, origin_step: int) -> Parent:
        """What to believe once training under `plan` has ended in `weights`, with the origin it knows of."""
        for name, keep in plan.mask.items():
            assert not weights[name][~keep].any(), f"a masked weight of {name} is not zero"
        assert weights.keys() == plan.state.keys() == origin.keys(), "a state is not complete"
        return Parent(
            network=plan.network, state=copied(weights), masks=plan.masks, routing=plan.routing,
            origin=copied(origin), origin_step=origin_step,
        )  # fmt: skip


def rewound(parent: Parent, mask: Mask, origin: State | None = None, origin_step: int | None = None) -> Plan:
    """Every parameter and buffer as at the origin, then masked; nothing frozen. Another origin takes the parent's place."""
    origin = parent.origin if origin is None else origin
    return Plan(
        network=parent.network, state=mask.apply(origin), masks=Masks.one(mask), origin=copied(origin),
        start_step=parent.origin_step if origin_step is None else origin_step,
    )  # fmt: skip


def continued(parent: Parent, mask: Mask) -> Plan:
    """The parent's weights, masked; only the learning rate goes back, to where it was at the origin."""
    return replace(rewound(parent, mask), state=mask.apply(parent.state), samples=Samples(new=True))


def copied(state: Mapping[str, Tensor], device: str | None = None) -> State:
    """The same values, contiguous and in memory of their own: where they lie, or on `device`."""
    return {
        name: tensor.detach().to(device or tensor.device, copy=True).contiguous()
        for name, tensor in state.items()
    }
