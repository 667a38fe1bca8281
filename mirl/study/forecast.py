"""Forecast of a study's cost by arithmetic alone: every round is planned on a stand-in for the network."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mirl import networks
from mirl.config import UserError
from mirl.methods.plan import Parent, Plan, TrainToEnd
from mirl.sparsity.accounting import Flops, Macs, macs, training_flops
from mirl.sparsity.mask import Mask, State
from mirl.sparsity.masks import Masks
from mirl.study.params import ROOT_TICKET, Params

STAND_IN = (512, 256)
"""Shape of the one weight that stands for all: densities are exact to 1/100,000; blocks and N:M groups divide it."""


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
    """True if the round may end sooner, because its arm ends a round whose ranking has settled."""
    ranks_only: bool = False
    """True if the round is trained only until its weights can be ranked, although it is the last of its arm."""

    def hours(self, step_seconds: float) -> float:
        """Return the hours of training alone, on a device that takes `step_seconds` for a step."""
        return self.steps * step_seconds / 3600


def forecast(params: Params) -> list[Forecast]:
    """Forecast every round of the study, in order. Raises UserError if one cannot be planned, as the study would."""
    beliefs = {ROOT_TICKET: _untrained(params)}
    dense, whole = _forward(params)
    going_on = {(item.after, item.arm) for item in params.rounds.values()}
    found = []
    for name, item in params.rounds.items():
        method = params.planner(name)
        try:
            plan = method.plan(beliefs[item.after], _stand_in)
        except UserError as error:
            raise UserError(f"round {name}: {error}") from None
        origin_step = plan.start_step if plan.origin else params.train.rewind_step
        beliefs[name] = method.absorb(plan, plan.state, plan.origin or plan.state, origin_step)
        steps, may_stop_early = _steps(params, plan), not isinstance(plan.stopping_rule, TrainToEnd)
        samples = steps * params.train.batches.batch
        each = [
            training_flops(_share(plan.masks[mask].density, dense, whole), samples, passes)
            for mask, passes in plan.objective.passes(list(plan.masks)).items()
        ]
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


def _forward(params: Params) -> tuple[float, float]:
    """Count 1e9 multiply-accumulates for one training patch: of the network, and of the part no mask can remove."""
    network = networks.build(params.network)
    weights = networks.prunable(network, params.network.prune_prompts)
    nothing = Mask({name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in weights.items()})
    side = params.train.batches.patch
    work = macs(network, nothing, side, side)
    return work.dense_g, work.kept_g


def _untrained(params: Params) -> Parent:
    state = _stand_in(params.network.seed)
    masks = Masks.one(Mask.full(state))
    return Parent(network=params.network, state=state, masks=masks, origin=state, origin_step=0)


def _stand_in(seed: int) -> State:
    return {"weight": torch.randn(STAND_IN, generator=torch.Generator().manual_seed(seed))}
