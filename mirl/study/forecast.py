"""Forecast of a study: every round is planned on the network's shapes, as if training left the weights as they are."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from mirl import networks
from mirl.config import UserError
from mirl.methods.plan import Initialise, Parent, Plan, TrainToEnd
from mirl.networks import NetworkSection
from mirl.sparsity.accounting import Flops, Macs, macs, training_flops
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.study.params import ROOT_TICKET, Params

MOST_WEIGHTS = 250_000
"""Number of prunable weights, about, from which a part of each layer stands for the layer."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Forecast of one round, or of several together."""

    name: str
    density: float
    """Kept fraction of the prunable weights; for several rounds, that of the last round."""
    steps: int
    samples: int
    flops: Flops
    """FLOPs of training; `kept` assumes that every layer keeps the same share, as the masks are not known yet."""
    at_most: bool
    """True if the round may end sooner, as its ranking has settled, or have nothing to do, as its goal has been reached."""
    ranks_only: bool = False
    """True if the round is trained only until its weights can be ranked, although it is the last of its arm."""


def forecast(params: Params) -> list[Forecast]:
    """Forecast every round of the study, in order. Raises UserError if one cannot be planned, as the study would."""
    forward: dict[str, tuple[float, float]] = {}
    going_on = {(item.after, item.arm) for item in params.rounds.values()}
    found = []
    for name, plan in plans(params):
        item = params.rounds[name]
        steps = _steps(params, plan)
        may_stop_early = plan.optional or not isinstance(plan.stopping_rule, TrainToEnd)
        samples = steps * params.train.batches.batch
        each = []
        for mask, passes in plan.objective.passes(list(plan.masks)).items():
            section = plan.network.with_heads([plan.heads.get(mask, 0)])
            if str(section.options) not in forward:
                forward[str(section.options)] = _forward(section, params.train.batches.patch)
            dense, whole = forward[str(section.options)]
            work = _share(plan.alone(mask).mask.density, dense, whole)
            each.append(training_flops(work, samples, passes))
        found.append(
            Forecast(
                name=name,
                density=plan.mask.density,
                steps=steps,
                samples=samples,
                flops=_added(each),
                at_most=may_stop_early,
                ranks_only=plan.ranks_only and (name, item.arm) not in going_on,
            )
        )
    return found


def plans(params: Params, name: str | None = None) -> Iterator[tuple[str, Plan]]:
    """Yield the name and the plan of every round of the study, in order; of those on the way of round `name` if given.

    Weights, their scores and so the masks are not those that the study will find; what is kept of them is. Raises
    UserError, which names the round, if one cannot be planned, as the study would.
    """
    initialise = _initialise(params)
    state = initialise(params.network.seed)
    masks = Masks.one(Mask.full(state))
    root = Parent(network=params.network, state=state, masks=masks, origin=state, origin_step=0)
    yield from _planned(params, {ROOT_TICKET: root}, _way(params, name) if name else params.rounds)


def refuse_impossible(params: Params, name: str | None = None) -> None:
    """Raise UserError, which names the round, if a round cannot be planned that leads on from round `name` (None: any).

    What is trained before it would be lost.
    """
    for _ in plans(params, name):
        pass


def refuse_impossible_after(params: Params, root: Parent) -> None:
    """Raise UserError, which names the round, if a round of the study cannot be planned after `root`, a whole network.

    The study's first round comes after `root` instead of the untrained network.
    """
    for _ in _planned(params, {ROOT_TICKET: root}, params.rounds):
        pass


def _way(params: Params, name: str) -> list[str]:
    """Return the rounds that lead to round `name`, itself, and those that lead on from it, in the study's order."""
    way = {name}
    while (before := params.rounds[min(way, key=list(params.rounds).index)].after) != ROOT_TICKET:
        way.add(before)
    following = {name}
    for other, item in params.rounds.items():
        following |= {other} if item.after in following else set()
    return [other for other in params.rounds if other in way | following]


def _planned(
    params: Params, beliefs: Mapping[str, Parent], names: Collection[str]
) -> Iterator[tuple[str, Plan]]:
    """Yield the plans of the rounds `names`, which come after one another or after `beliefs`; a belief goes once used."""
    known, initialise = dict(beliefs), _initialise(params)
    for place, name in enumerate(names):
        item = params.rounds[name]
        try:
            plan = params.planner(name).plan(known[item.after], initialise)
        except UserError as error:
            raise UserError(f"round {name}: {error}") from None
        needed = {params.rounds[other].after for other in list(names)[place + 1 :]}
        known = {other: belief for other, belief in known.items() if other in needed}
        if name in needed:
            known[name] = _believed(params, name, plan)
        yield name, plan


def _believed(params: Params, name: str, plan: Plan) -> Parent:
    """Return the parent of the rounds after `name`, if its training changed nothing."""
    origin_step = plan.start_step if plan.origin else params.train.rewind_step
    return params.planner(name).absorb(plan, plan.state, plan.origin or plan.state, origin_step)


def _initialise(params: Params) -> Initialise:
    """Return what draws weights of the network's shapes: all outputs, or of a large network the same share of each layer's.

    Which inputs a layer has decides what structures it takes; outputs only count.
    """
    network = networks.outline(params.network)
    prunable = networks.prunable(network, params.network.prune_prompts)
    total = sum(weight.numel() for weight in prunable.values())
    share = min(MOST_WEIGHTS / max(total, 1), 1.0)
    shapes = {name: (math.ceil(len(weight) * share), *weight.shape[1:]) for name, weight in prunable.items()}

    def draw(seed: int) -> State:
        generator = torch.Generator().manual_seed(seed)
        return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    return draw


def together(rounds: Sequence[Forecast]) -> Forecast:
    """Add up the forecasts of several rounds into one."""
    return Forecast(
        name=f"all {len(rounds)}",
        density=rounds[-1].density,
        steps=sum(each.steps for each in rounds),
        samples=sum(each.samples for each in rounds),
        flops=_added([each.flops for each in rounds]),
        at_most=any(each.at_most for each in rounds),
    )


def _share(density: float, dense: float, whole: float) -> Macs:
    """Return the work under a mask of that density; `dense` and `whole` are those of `_forward`."""
    return Macs(dense_g=dense, kept_g=whole + density * (dense - whole))


def _added(each: Sequence[Flops]) -> Flops:
    return Flops(kept=sum(flops.kept for flops in each), dense=sum(flops.dense for flops in each))


def _steps(params: Params, plan: Plan) -> int:
    """Return the number of steps of a round, as the training loop counts them."""
    section = params.train.shortened(plan.length)
    return section.steps - section.step_after(plan.start_step, plan.length)


def _forward(section: NetworkSection, side: int) -> tuple[float, float]:
    """Count 1e9 multiply-accumulates for one patch of that side: of the network, and of the part no mask can remove."""
    network = networks.outline(section)
    weights = networks.prunable(network, section.prune_prompts)
    nothing = Mask({name: torch.zeros(weight.shape, dtype=torch.bool) for name, weight in weights.items()})
    work = macs(network, nothing, side, side)
    return work.dense_g, work.kept_g
