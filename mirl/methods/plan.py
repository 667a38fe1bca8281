"""Contract of a method: a planner that sees weights and masks, but no data, training, files or logs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor

from mirl.config import UserError
from mirl.data.batches import Batch
from mirl.networks import working
from mirl.objectives import Objective, Reconstruction, ReconstructionByTask
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.tickets.model import SparseModel
from mirl.tickets.routing import ByTask

Role = Literal["reference", "candidate", "control"]
"""Role of a method's tickets: others are compared with them, they may be promoted, or they are there to be beaten."""

Draw = Callable[[int], Batch]
"""Number, from 0 -> batch of training samples that no training of the study has drawn."""
Remask = Callable[[Mapping[str, Tensor]], Masks]
"""Prunable weights -> masks of the sub-networks."""
Initialise = Callable[[int], State]
"""seed -> the complete state of the untrained network of that seed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parent(SparseModel):
    """Result of a round, from which the next round is planned."""

    origin: State
    """Complete, unmasked state at the rewind step."""
    origin_step: int
    undone: str = ""
    """Why the training of the round was thrown away, so that this is what was before it; empty if it was not."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Choice of the samples that a round is trained on."""

    new: bool = False
    """True to draw samples that the earlier rounds did not, for weights that were trained on those."""
    tasks: tuple[str, ...] = ()
    """Restoration tasks that are drawn; empty: all that the study trains."""


class StoppingRule(Protocol):
    """Rule that checks a training at regular steps and may end it early. Its memory is a state, kept in checkpoints."""

    every_steps: int

    def check(self, weights: State, seen: State) -> tuple[State, bool]:
        """Return (state to remember, whether training may end), given the present weights and the remembered state.

        `seen` is empty at the first check.
        """
        ...


@dataclass(frozen=True)
class TrainToEnd(StoppingRule):
    """Stopping rule that never ends a training early."""

    every_steps: int = 1 << 62

    def check(self, weights: State, seen: State) -> tuple[State, bool]:
        return seen, False


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan(SparseModel):
    """Model that the next round starts from, on the parent's device, and how the model is trained.

    The plan shares no memory with the parent: training may write into the plan. Its network may differ from the
    parent's, with parts that the round adds.
    """

    start_step: int
    """Step of the complete schedule at which training begins."""
    objective: Objective = field(default_factory=Reconstruction)
    samples: Samples = field(default_factory=Samples)
    length: float = 1.0
    """Share, in [0, 1], to which the schedule is shortened: the same warm-up and cosine in fewer steps; 0: none at all."""
    idle: str = ""
    """Why nothing is trained, for people; empty if something is."""
    optional: bool = False
    """True if the round may turn out to have nothing to do, by what the rounds before it have measured."""
    stopping_rule: StoppingRule = field(default_factory=TrainToEnd)
    ranks_only: bool = False
    """True if the round is trained only until its weights can be ranked for the next."""
    frozen: Mapping[str, Tensor] = field(default_factory=dict)
    """Boolean mask for a parameter or buffer, True = frozen; for any of the state, prunable or not."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Prefix of a parameter's name -> factor of its learning rate, at least 0; the longest that fits counts, else 1."""
    remask: Remask | None = None
    """Masks of the sub-networks for any weights: they are made anew from the present ones in every step, with a gradient
    that goes straight through, and their union stays that of `masks`. None: `masks` stay."""
    hold_moments: float = 1.0
    """Share, in (0, 1], of the round's steps after which the second moments of the optimiser stay as they are (STEP,
    2302.01172); 1: never."""
    origin: State | None = None
    """Complete state, at `start_step`, that the next round rewinds to; None: the training records it."""


class Method(Protocol):
    """Planner of rounds: plans the next round, and makes the parent of the one after from the trained weights."""

    role: ClassVar[Role]

    def __init__(self, arm: Any) -> None: ...

    def serving(self, tasks: tuple[str, ...], scales: tuple[int, ...] = ()) -> Self:
        """Return the planner of rounds with this requirement, the tasks that are trained; empty: all of the study.

        `scales` is what each of the tasks enlarges by; empty if none does. Raises UserError if the method has no use for a
        requirement, or no round without one.
        """
        if tasks:
            raise UserError("its method trains all tasks of the study, so leave out the requirement")
        return self

    @property
    def continues(self) -> bool:
        """True if a round continues from the parent's weights, which are then trained for one round more."""
        return False

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        """Plan the round after `parent`. Raises UserError if the settings do not fit this parent."""
        ...

    def absorb(self, plan: Plan, weights: State, origin: State, origin_step: int) -> Parent:
        """Return the parent of the next round, from the `weights` trained under `plan` and the recorded origin."""
        for name, keep in plan.mask.items():
            assert not weights[name][~keep].any(), f"a masked weight of {name} is not zero"
        assert weights.keys() == plan.state.keys() == origin.keys(), "a state is not complete"
        return Parent(
            network=plan.network, state=copied(weights), masks=plan.masks, routing=plan.routing,
            origin=copied(origin), origin_step=origin_step,
        )  # fmt: skip

    def calibrate(self, belief: Parent, draw: Draw, parent: Parent) -> Parent:
        """Return `belief` with what only data can tell of it, once it is trained; most methods have nothing to ask.

        The samples are of the tasks that the plan trains. `parent` is what the round was planned from: a method may return
        to it, and say why in `undone`.
        """
        return belief


def from_weights(parent: Parent, tasks: tuple[str, ...] = (), scales: tuple[int, ...] = ()) -> Plan:
    """Plan a round that trains all of the parent's weights from the start of the schedule, and records the origin.

    With `tasks`, the ticket is trained for these alone and serves no others. If the network has several heads, `scales`
    is the one of each task: those of one scale have a sub-network, and heads of other scales are not trained.
    """
    plan = Plan(network=parent.network, state=copied(parent.state), masks=parent.masks, start_step=0)
    if not tasks:
        return plan
    if missing := [scale for scale in scales if not parent.network.has_head(scale)]:
        raise UserError(
            f"the network has no head for x{missing[0]}; name {missing[0]} in its option `scales`, or grow a requirement of "
            "another scale first, to which a later one adds its head"
        )
    if not parent.network.scales:
        scales = (0,) * len(tasks)
    of_scale = {
        scale: tuple(task for task, its in zip(tasks, scales, strict=True) if its == scale)
        for scale in scales
    }
    names = {task: requirement_name(of_scale[scale]) for task, scale in zip(tasks, scales, strict=True)}
    masks = Masks({names[own[0]]: reachable(parent, scale) for scale, own in of_scale.items()})
    objective = ReconstructionByTask(names) if len(masks) > 1 else Reconstruction(*masks)
    return replace(
        plan, state=masks.union.apply(plan.state), masks=masks, routing=ByTask(kind="task", tasks=names),
        objective=objective, samples=Samples(tasks=tasks),
    )  # fmt: skip


def reachable(parent: Parent, scale: int) -> Mask:
    """Return the mask of all weights that can have a part in enlarging by `scale`: those of other heads have none."""
    scales = parent.network.scales
    reached = working(parent.mask, [scale]) if scales else parent.mask
    return Mask({name: torch.full_like(keep, name in reached) for name, keep in parent.mask.items()})


def requirement_name(tasks: tuple[str, ...]) -> str:
    """Return the name of the mask that serves the requirement of these tasks."""
    return "-".join(tasks)


def rewound(parent: Parent, mask: Mask, origin: State | None = None, origin_step: int | None = None) -> Plan:
    """Plan a round from the origin: every parameter and buffer as at the origin, then masked; nothing frozen.

    `origin`, if given, is used instead of the parent's.
    """
    origin = parent.origin if origin is None else origin
    return Plan(
        network=parent.network, state=mask.apply(origin), masks=Masks.one(mask), origin=copied(origin),
        start_step=parent.origin_step if origin_step is None else origin_step,
    )  # fmt: skip


def continued(parent: Parent, mask: Mask) -> Plan:
    """Plan a round from the parent's weights, masked; only the learning rate is rewound to its value at the origin."""
    return replace(rewound(parent, mask), state=mask.apply(parent.state), samples=Samples(new=True))


def copied(state: Mapping[str, Tensor], device: str | None = None) -> State:
    """Copy the tensors of a state, contiguous and in memory of their own, on `device` or where each is."""
    return {
        name: tensor.detach().to(device or tensor.device, copy=True).contiguous()
        for name, tensor in state.items()
    }
