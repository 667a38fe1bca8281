"""The method contract: a method is a planner. It sees weights and masks, no data, training, files or logs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from mirl.sparsity.mask import Mask, State

Initialise = Callable[[int], State]
"""seed -> the complete state of the untrained network of that seed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parent:
    """What is believed after a round, and what the next one is planned from."""

    weights: State
    """Complete, trained under `mask`."""
    mask: Mask
    """Covers every prunable parameter."""
    origin: State
    """Complete and unmasked, at the rewind step."""
    origin_step: int


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
class Plan:
    """The next round, where the parent lies. It shares no memory with it: training may write into the plan."""

    start: State
    """Complete; masked elements are exactly 0."""
    mask: Mask
    start_step: int
    """Step of the whole schedule at which training begins."""
    length: float = 1.0
    """Share, in (0, 1], of the schedule's steps that it is shortened to: the same warm-up and cosine in fewer steps."""
    new_samples: bool = False
    """Whether to train on other samples than the rounds before: for weights that have been trained on those."""
    stopping_rule: StoppingRule = TrainToEnd()
    frozen: Mapping[str, Tensor] = field(default_factory=dict)
    """Bool per element, True = frozen; any parameter, prunable or not."""
    origin: State | None = None
    """Complete state that the next round rewinds to, at `start_step`; None: the training records it."""


class Method(Protocol):
    """Answers two questions: what is the next round, and what is believed once it has been trained."""

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        """The round after `parent`. UserError where the settings ask for what this parent cannot give."""
        ...

    def absorb(self, plan: Plan, weights: State, origin: State, origin_step: int) -> Parent:
        """What to believe once training under `plan` has ended in `weights`, with the origin it knows of."""
        for name, keep in plan.mask.items():
            assert not weights[name][~keep].any(), f"a masked weight of {name} is not zero"
        assert weights.keys() == plan.start.keys() == origin.keys(), "a state is not complete"
        return Parent(weights=copied(weights), mask=plan.mask, origin=copied(origin), origin_step=origin_step)


def rewound(origin: State, origin_step: int, mask: Mask) -> Plan:
    """Every parameter and buffer as at the origin, then masked; nothing frozen."""
    return Plan(start=mask.apply(origin), mask=mask, start_step=origin_step, origin=copied(origin))


def continued(parent: Parent, mask: Mask) -> Plan:
    """The parent's weights, masked; only the learning rate goes back, to where it was at the origin."""
    return replace(
        rewound(parent.origin, parent.origin_step, mask), start=mask.apply(parent.weights), new_samples=True
    )


def copied(state: Mapping[str, Tensor], device: str | None = None) -> State:
    """The same values, contiguous and in memory of their own: where they lie, or on `device`."""
    return {
        name: tensor.detach().to(device or tensor.device, copy=True).contiguous()
        for name, tensor in state.items()
    }
