"""ClassPruning (arXiv 2211.05488): nested sub-networks of one set of weights, and a router that picks one for each patch.

The paper's N, M, classifier and losses are not public: what stands here is ours (ADR 22).
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from mirl import networks
from mirl.config import Section, UserError
from mirl.methods.nesting import Nesting
from mirl.methods.plan import Draw, Initialise, Method, Parent, Plan, Role, continued
from mirl.methods.rewind import ArmStructure, ScopeName, ScoreName
from mirl.methods.smallest_first import plan_next, trained
from mirl.names import Name
from mirl.networks import NetworkSection
from mirl.networks.router import RouterSection
from mirl.objectives import Levels, Objective, RouterFit, SoftChoice
from mirl.sparsity.accounting import macs, once_per_image
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import ONE
from mirl.sparsity.structure import NOfM
from mirl.tickets.calibration import calibrated
from mirl.tickets.routing import ByWork, Unit, by_weights

MOST_ROUTER_WORK = 0.03
"""Share of the work of the largest sub-network that the router may take."""
CALIBRATION_BATCHES = 64
"""Batches of training samples that the router's prices are calibrated with."""


class RouterArm(Section):
    """How the router is made and trained."""

    channels: int = Field(default=16, ge=1, le=256)
    """Channels of its hidden layers."""
    patch: int = Field(default=64, ge=8, le=1024)
    """Side of the patches that are routed, pixels: a multiple of the network's `multiple`, best the training patch."""
    unit: Unit = "patch"
    """What one sub-network restores: each patch, or the whole image, by the mean of its patches' scores."""
    train: Literal["after", "along"] = "after"
    """`after`: a round of its own, once the sub-networks are trained; `along`: together with them, as ClassSR."""
    class_weight: float = Field(default=0.0005, ge=0)
    """Weight of the term that asks for sure choices; for `along`. ClassSR's share of its L1 loss."""
    balance_weight: float = Field(default=0.003, ge=0)
    """Weight of the term that asks for each sub-network to be chosen as often; for `along`. ClassSR's share."""
    length: float = Field(default=0.5, gt=0, le=1)
    """Share of the schedule that its own round trains."""


class ClassPruningArm(Section):
    """Sub-networks from the least work to the most, and the router that chooses among them."""

    method: Literal["class_pruning"]
    levels: dict[Name, Annotated[float, Field(gt=0, le=1)]] = Field(
        default={"easy": 0.25, "medium": 0.5, "hard": 1.0}, min_length=2, max_length=16
    )
    """Name of a sub-network -> share of the parent's weights that it keeps: N / M with the structure `n_of_m`."""
    structure: ArmStructure = NOfM(kind="n_of_m", m=16, indivisible="keep")
    """Which weights come and go together."""
    scope: ScopeName = "layerwise"
    score: ScoreName = "magnitude"
    floor: float = Field(default=0.0, ge=0, lt=1)
    """Share of its weights that every layer keeps, come what may."""
    whole: list[str] = Field(default=[])
    """Beginnings of names of parameters that every sub-network keeps as the parent does, such as `tail.`."""
    layers: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(default={})
    """Beginning of a layer's name -> share of the parent's weights that every sub-network keeps there at least, such as
    `{tail.: 0.75}`; the longest that fits counts. Under the scope global such layers compete among themselves."""
    training: Literal["joint", "smallest_first"] = "joint"
    """`joint`: one round trains all sub-networks; `smallest_first`: a round for each, from the smallest to the largest, in
    which what the smaller ones keep is frozen (ELSA, 2312.06872)."""
    masks: Literal["fixed", "sr_ste"] = "fixed"
    """What the sub-networks keep while they are trained: what they kept of the parent's weights, or what they would keep of
    the present ones, with gradients for the others, too (SR-STE, 2102.04010)."""
    decay: float = Field(default=2e-4, ge=0)
    """SR-STE's lambda, which pulls what a sub-network does without towards 0; for the masks `sr_ste`."""
    hold_moments: float = Field(default=1.0, gt=0, le=1)
    """Share of the steps of a round of sub-networks after which the optimiser's second moments stay (STEP, 2302.01172); 1:
    never."""
    router: RouterArm = RouterArm()
    work: float = Field(default=0.5, gt=0, le=1)
    """Share of the largest sub-network's work that the ticket does where nobody asks for another."""

    @property
    def order(self) -> list[str]:
        """The sub-networks from the fewest weights to the most."""
        return sorted(self.levels, key=self.levels.__getitem__)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.levels.values())) < len(self.levels):
            named = ", ".join(f"{name}: {share:g}" for name, share in self.levels.items())
            raise ValueError(f"the levels are {{{named}}}, but each must keep another share")
        return self

    @model_validator(mode="after")
    def _one_after_the_other(self) -> Self:
        if self.training == "joint":
            return self
        if self.masks != "fixed" or self.router.train == "along":
            raise ValueError(
                "`training: smallest_first` freezes each sub-network before the next is trained, which goes with `masks: "
                "fixed` and the router's `train: after` only"
            )
        if ONE in self.levels:
            raise ValueError(
                f"a level is called {ONE}, as the only mask of any ticket is; give it another name"
            )
        return self

    @model_validator(mode="after")
    def _masks_can_be_made_anew(self) -> Self:
        if self.masks == "fixed":
            return self
        largest = self.order[-1]
        if self.levels[largest] < 1:
            raise ValueError(
                f"the largest of the levels, {largest}, keeps {self.levels[largest]:g} of the weights, but with `masks: "
                "sr_ste` it must keep all of them, 1: all are trained, as each may come back; or use `masks: fixed`"
            )
        if self.router.train == "along":
            raise ValueError(
                "`masks: sr_ste` makes masks anew in a round without a router, so its `train` must be `after`"
            )
        return self


@dataclass(frozen=True)
class ClassPruning(Method):
    """A round that trains the sub-networks, and one that trains the router; or both in one."""

    role: ClassVar[Role] = "candidate"
    arm: ClassPruningArm

    @property
    def continues(self) -> bool:
        return True

    def plan(self, parent: Parent, initialise: Initialise) -> Plan:
        if parent.network.router is not None:
            raise UserError(
                "nothing is left to do: the router is trained already; leave out this round, or put it after a ticket "
                "without one"
            )
        one_by_one = self.arm.training == "smallest_first"
        if one_by_one and (
            len(parent.masks) == 1 or 0 < trained(parent, self.arm.order) < len(self.arm.order)
        ):
            plan = plan_next(parent, self._nesting(parent))
            return replace(plan, hold_moments=self.arm.hold_moments)
        if len(parent.masks) == 1:
            return self._plan_levels(parent)
        if list(parent.masks) != self.arm.order or self.arm.router.train == "along":
            raise UserError(
                f"a class_pruning round comes after a ticket with the sub-networks {', '.join(parent.masks)}, expected "
                f"one, or {', '.join(self.arm.order)} for a router that is trained after them; put it after another "
                "round, or use the same arm for both"
            )
        return self._plan_router(parent)

    def _plan_levels(self, parent: Parent) -> Plan:
        nesting = self._nesting(parent)
        masks = nesting(parent.state)
        plan = replace(
            continued(parent, masks.union), masks=masks, routing=by_weights(masks), hold_moments=self.arm.hold_moments
        )  # fmt: skip
        names, router = tuple(masks), self.arm.router
        if self.arm.masks == "sr_ste":
            return replace(plan, objective=Levels(names, self.arm.decay), remask=nesting)
        if router.train == "after":
            return replace(plan, objective=Levels(names))
        return self._with_router(plan, SoftChoice(names, router.class_weight, router.balance_weight))

    def absorb(self, plan: Plan, weights: State, origin: State, origin_step: int) -> Parent:
        """Return what is believed; the masks are those of the trained weights if they were made anew in every step."""
        belief = super().absorb(plan, weights, origin, origin_step)
        return belief if plan.remask is None else replace(belief, masks=plan.remask(belief.state))

    def _plan_router(self, parent: Parent) -> Plan:
        frozen = {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in parent.state.items()}
        plan = replace(
            continued(parent, parent.mask), masks=parent.masks, routing=parent.routing, frozen=frozen,
            length=self.arm.router.length,
        )  # fmt: skip
        return self._with_router(plan, RouterFit(tuple(parent.masks)))

    def _with_router(self, plan: Plan, objective: Objective) -> Plan:
        """Return the same plan with an untrained router. Raises UserError if that takes too much work."""
        wanted = RouterSection(outputs=len(plan.masks), channels=self.arm.router.channels)
        section = plan.network.model_copy(update={"router": wanted})
        own = {
            name: tensor.detach().clone()
            for name, tensor in networks.build(section).state_dict().items()
            if name.startswith(networks.ROUTER)
        }
        self._refuse_heavy(section)
        assert plan.origin is not None
        return replace(
            plan, network=section, state={**plan.state, **own}, objective=objective,
            origin={**plan.origin, **{name: tensor.clone() for name, tensor in own.items()}},
        )  # fmt: skip

    def _refuse_heavy(self, section: NetworkSection) -> None:
        side = self.arm.router.patch
        network = networks.outline(section)
        if side % network.multiple:
            raise UserError(
                f"router.patch is {side}, expected a multiple of {network.multiple} for this network"
            )
        nothing = Mask.full({})
        whole = macs(network, nothing, side, side).dense_g
        own = macs(network.get_submodule("router"), nothing, side, side).dense_g
        if own > MOST_ROUTER_WORK * whole:
            raise UserError(
                f"the router takes {own / whole:.1%} of the network's work, expected at most {MOST_ROUTER_WORK:.0%}; use "
                f"fewer router.channels than {self.arm.router.channels}"
            )

    def _nesting(self, parent: Parent) -> Nesting:
        """Return the cut of the parent's weights into the levels."""
        network = networks.outline(parent.network)
        once = once_per_image(network, parent.mask, network.multiple)
        arm = self.arm
        for beginning in arm.layers:
            if not any(name.startswith(beginning) for name in parent.mask):
                raise UserError(
                    f"`layers` has {beginning!r}, with which no layer that can be pruned begins; the first is "
                    f"{next(iter(parent.mask))}"
                )
        return Nesting(
            levels={name: arm.levels[name] for name in arm.order}, least=arm.layers, structure=arm.structure,
            scope=arm.scope, score=arm.score, floor=arm.floor, mask=parent.mask, origin=parent.origin,
            whole=frozenset(
                name for name in parent.mask if name in once or name.startswith(tuple(arm.whole))
            ),
        )  # fmt: skip

    def calibrate(self, belief: Parent, draw: Draw, parent: Parent) -> Parent:
        """Measure the work of the sub-networks, and the price of every share of it if there is a router."""
        if not isinstance(belief.routing, ByWork):  # of one sub-network, before others are trained
            return belief
        routing = ByWork(kind="work", levels=self._work(belief))
        if belief.network.router is None:
            return replace(belief, routing=routing)
        router = networks.router_with(belief.network, belief.state)
        with torch.no_grad():
            scores = [router(draw(number).degraded_BCHW).double() for number in range(CALIBRATION_BATCHES)]
        found = calibrated(routing, torch.cat(scores).numpy(), self.arm.router.patch, self.arm.work)
        return replace(belief, routing=found.model_copy(update={"unit": self.arm.router.unit}))

    def _work(self, belief: Parent) -> dict[str, float]:
        """Return the share of the largest sub-network's multiply-accumulates that each takes."""
        network, side = belief.outline(), self.arm.router.patch
        took = {name: macs(network, mask, side, side).kept_g for name, mask in belief.masks.items()}
        return {name: own / max(took.values()) for name, own in took.items()}
