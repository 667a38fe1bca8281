"""PnG (CVPRW 2021, doi 10.1109/CVPRW53098.2021.00085): one network, grown and pruned for requirement after requirement.

A requirement owns the weights that its rounds trained. Those of earlier requirements are frozen, so that their
sub-networks stay what they are, to the last bit. Owner of a weight is the first requirement whose mask keeps it: masks
stand in the order of their requirements. Block shapes, thresholds and losses of the paper are not public: what stands
here is ours (ADR 24).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, ValidationInfo, field_validator, model_validator

from mirl.config import Section, UserError
from mirl.methods.heads import new_head, with_head
from mirl.methods.plan import (
    Draw,
    Initialise,
    Method,
    Parent,
    Plan,
    Role,
    Samples,
    continued,
    from_weights,
    reachable,
    requirement_name,
)
from mirl.methods.quality_goal import QualityGoal
from mirl.methods.rewind import REMEMBERED, ArmStructure, ScopeName, ScoreName
from mirl.methods.widening import frozen, widened
from mirl.networks.picks import PICKS, PicksSection, picked, without_picks
from mirl.objectives import Reconstruction
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.sparsity.schedule import keep_after
from mirl.sparsity.scope import SCOPES
from mirl.sparsity.scores import SCORES
from mirl.sparsity.structure import AnyStructure, Blocks
from mirl.tickets.routing import ByTask


class PngArm(Section):
    """How much of the free weights a requirement keeps, and in which blocks."""

    method: Literal["png"]
    goal: Annotated[float, Field(gt=0, lt=1)] | QualityGoal = 0.2
    """Share of the weights that are free when a requirement comes, which it keeps, the rest being left to later ones; or
    what pruning may cost it, in dB."""
    structure: ArmStructure = Blocks(kind="blocks", least=1)
    """Which weights come and go together. Of blocks, every layer keeps one at `least` if nothing else is said."""
    scope: ScopeName = "layerwise"
    score: ScoreName = "magnitude"
    floor: float = Field(default=0.0, ge=0, lt=1)
    """Share of its weights that a requirement keeps in every layer, as far as they are free."""
    whole: list[str] = Field(default=[])
    """Beginnings of names of parameters of which a requirement keeps all that is free, such as `tail.`: the first owns
    them whole, and the later ones share them."""
    widen: float | None = Field(default=None, gt=1, le=8)
    """Factor of the network's channels if too little is free for a requirement; None: that is refused, if nothing is."""
    widen_below: float = Field(default=0.1, ge=0, lt=1)
    """Share of the weights that is too little."""
    pick: Literal["all", "learned"] = "all"
    """What a later requirement uses of the earlier ones' weights: all, or the blocks that it learns to pick while it
    grows (Piggyback, 1801.06519)."""
    pick_rate: float = Field(default=0.02, gt=0)
    """Factor of the learning rate for the scores of the picks."""
    start: Literal["origin", "zero"] = "origin"
    """Values from which free weights are trained for a later requirement."""
    length: float = Field(default=1.0, gt=0, le=1)
    """Share of the schedule for which a requirement's weights are trained on once they are pruned."""

    @field_validator("structure")
    @classmethod
    def _no_layer_is_lost(cls, structure: AnyStructure, info: ValidationInfo) -> AnyStructure:
        if (
            info.context == REMEMBERED
            or not isinstance(structure, Blocks)
            or "least" in structure.model_fields_set
        ):
            return structure
        return structure.model_copy(update={"least": 1})

    @model_validator(mode="after")
    def _picks_are_blocks(self) -> Self:
        if self.pick == "learned" and not isinstance(self.structure, Blocks):
            raise ValueError(
                f"`pick` is learned, but the structure is {self.structure.kind}, expected blocks, which can be picked"
            )
        return self


@dataclass(frozen=True)
class Png(Method):
    """A round that grows a requirement into all free weights, and one that prunes what it has grown and trains it on."""

    role: ClassVar[Role] = "candidate"
    arm: PngArm
    tasks: tuple[str, ...] = ()
    """Requirement of the round."""
    scale: int = 1
    """What its tasks enlarge by."""

    def serving(self, tasks: tuple[str, ...], scales: tuple[int, ...] = ()) -> Self:
        if not tasks:
            raise UserError("a png round is for one requirement, so name its `task`")
        if len(set(scales)) > 1:
            raise UserError(
                f"a png round is for one requirement, but its tasks enlarge by {', '.join(map(str, sorted(set(scales))))}; "
                "give each scale rounds of its own"
            )
        return replace(self, tasks=tasks, scale=scales[0] if scales else 1)

    @property
    def continues(self) -> bool:
        return True

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        name = requirement_name(self.tasks)
        known = _routing(parent).tasks
        earlier = dict(parent.masks) if known else {}
        if earlier and list(earlier)[-1] == name:
            del earlier[name]
            return self._prune(parent, earlier, parent.masks.own(name))
        for task in self.tasks:
            if task in known:
                raise UserError(
                    f"the requirement {task} comes twice: the ticket serves it by its sub-network {known[task]}; leave out "
                    "this round, or name another task"
                )
        return self._grow(parent, initialise) if earlier else self._first(parent)

    def _first(self, parent: Parent) -> Plan:
        if parent.mask.kept < parent.mask.total or len(parent.masks) > 1:
            raise UserError(
                f"the first requirement comes after a ticket that keeps {parent.mask.density:.2%} of its weights in "
                f"{len(parent.masks)} sub-networks, expected the whole network; put the round after `init`"
            )
        return from_weights(parent, self.tasks, (self.scale,) * len(self.tasks))

    def _grow(self, parent: Parent, initialise: Initialise) -> Plan:
        """Plan the training of all weights that no earlier requirement owns, but for heads of other scales."""
        parent = with_head(parent, self.scale, initialise)
        everything, free = self._shared_out(parent)
        if self.arm.widen and free.kept <= self.arm.widen_below * everything.kept:
            parent = widened(parent, self.arm.widen)
            everything, free = self._shared_out(parent)
        if not free.kept:
            owners = list(parent.masks)
            raise UserError(
                f"no capacity is left for {requirement_name(self.tasks)}: {', '.join(owners)} own all {everything.kept} "
                f"weights; put a round that prunes {owners[-1]} before it, lower the arm's `goal`, or let it `widen`"
            )
        plan = self._frozen_but(parent, parent.masks, everything)
        if self.arm.pick == "learned":
            plan = self._with_picks(plan)
        if self.arm.start == "zero":
            return plan
        begun = {
            layer: torch.where(its, parent.origin[layer], plan.state[layer]) for layer, its in free.items()
        }
        return replace(plan, state={**plan.state, **begun})

    def _shared_out(self, parent: Parent) -> tuple[Mask, Mask]:
        """Return the masks of what a new requirement can use, and of what of it no earlier one owns."""
        everything = reachable(parent, self.scale)
        return everything, _without(everything, parent.masks.union)

    def _prune(self, parent: Parent, earlier: Mapping[str, Mask], grown: Mask) -> Plan:
        """Plan the training of the best of the weights that the requirement has grown into; the rest becomes free."""
        free = _without(reachable(parent, self.scale), _kept_by(earlier, grown))
        name, goal = requirement_name(self.tasks), self.arm.goal
        used, is_pruned = _without(parent.masks[name], grown), grown.kept < free.kept
        if is_pruned and not isinstance(goal, QualityGoal):
            raise UserError(
                f"the requirement {name} comes twice: it is pruned already, to {grown.kept / free.kept:.2%} of what was "
                "free; leave out this round, or name another task"
            )
        whole = {layer: keep for layer, keep in grown.items() if layer.startswith(tuple(self.arm.whole))}
        cut = Mask({layer: keep for layer, keep in grown.items() if layer not in whole})
        if not cut.kept:
            raise UserError("no layer is left to prune: `whole` names them all; name fewer")
        settled = goal.settled(name, parent) if isinstance(goal, QualityGoal) else ""
        kept = cut if settled else self._cut(parent, cut)
        if kept == cut:
            idle = settled or f"nothing is left to prune, {name} owns the least in such blocks"
            plan = self._frozen_but(parent, earlier, grown, used)
            return replace(plan, length=0.0, idle=idle, optional=True)
        plan = self._frozen_but(parent, earlier, Mask({**whole, **kept}), used)
        return replace(plan, length=self.arm.length, optional=is_pruned)

    def _cut(self, parent: Parent, mask: Mask) -> Mask:
        """Return the part of `mask`, of what the requirement owns, that it keeps."""
        structure, goal = self.arm.structure, self.arm.goal
        if isinstance(goal, QualityGoal):
            keep = keep_after(mask.kept, goal.fraction)
        else:
            keep = structure.count(mask, goal)
        scores = SCORES[self.arm.score](parent.state, parent.origin, mask)
        return structure.select(scores, mask, keep, SCOPES[self.arm.scope], self.arm.floor)

    def calibrate(self, belief: Parent, draw: Draw, parent: Parent) -> Parent:
        """Measure what pruning has cost, if there is a goal for that, and undo the round if it cost more."""
        name, goal = requirement_name(self.tasks), self.arm.goal
        is_pruned = name in _routing(parent).tasks.values() and belief.masks != parent.masks
        if not (is_pruned and isinstance(goal, QualityGoal)):
            return belief
        return goal.judged(name, belief, draw, parent)

    def _with_picks(self, plan: Plan) -> Plan:
        """Return the plan with a score for each block of the weights that were there."""
        blocks = self.arm.structure
        assert isinstance(blocks, Blocks) and plan.origin is not None
        section = PicksSection(
            outputs=None if blocks.outputs == "all" else blocks.outputs, inputs=blocks.inputs
        )
        weights = {layer: plan.state[layer] for layer in plan.mask}
        return replace(
            plan,
            network=plan.network.model_copy(update={"picks": section}),
            state={**plan.state, **section.first(weights)},
            origin={**plan.origin, **section.first(weights)},
            rates={PICKS: self.arm.pick_rate},
        )

    def absorb(self, plan: Plan, weights: State, origin: State, origin_step: int) -> Parent:
        """Return what is believed, without the picks: the requirement's mask keeps what they picked."""
        belief = super().absorb(plan, weights, origin, origin_step)
        if plan.network.picks is None:
            return belief
        blocks, name = self.arm.structure, requirement_name(self.tasks)
        assert isinstance(blocks, Blocks)
        own = plan.masks.own(name)
        mask = Mask(
            {
                layer: own[layer] | keep & blocks.spread(picked(weights, layer), keep)
                for layer, keep in plan.masks[name].items()
            }
        )
        return replace(
            belief,
            network=plan.network.model_copy(update={"picks": None}),
            masks=Masks({**plan.masks, name: mask}),
            state=without_picks(belief.state),
            origin=without_picks(belief.origin),
        )

    def _frozen_but(
        self, parent: Parent, earlier: Mapping[str, Mask], own: Mask, used: Mask | None = None
    ) -> Plan:
        """Plan to go on from the parent's weights: `own` are trained for the requirement, and what was there is frozen.

        `used` is the part of it that the requirement uses beside `own`; None: none. What is not prunable belongs to the
        first requirement, or to the first that has its head.
        """
        name = requirement_name(self.tasks)
        owned = _kept_by(earlier, own)
        mask = own if used is None else Mask({layer: used[layer] | own[layer] for layer in own})
        known = _routing(parent)
        return replace(
            continued(parent, Masks({**earlier, name: mask}).union),
            masks=Masks({**earlier, name: mask}),
            routing=known.model_copy(update={"tasks": {**known.tasks, **dict.fromkeys(self.tasks, name)}}),
            objective=Reconstruction(name),
            samples=Samples(new=True, tasks=self.tasks),
            frozen=frozen(parent, earlier, owned, new_head(parent, owned, self.scale)) if earlier else {},
        )


def _routing(parent: Parent) -> ByTask:
    """Return which mask serves which task; none does before the first requirement."""
    found = parent.routing
    return found if isinstance(found, ByTask) else ByTask.model_construct(kind="task", tasks={})


def _kept_by(masks: Mapping[str, Mask], like: Mask) -> Mask:
    """Return what at least one of the masks keeps; nothing of what `like` covers if there is none."""
    if masks:
        return Masks(masks).union
    return Mask({name: torch.zeros_like(keep) for name, keep in like.items()})


def _without(mask: Mask, other: Mask) -> Mask:
    return Mask({name: keep & ~other[name] for name, keep in mask.items()})
