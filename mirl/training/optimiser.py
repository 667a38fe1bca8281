"""AdamW that leaves a mask and frozen elements exactly as they are."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from mirl.sparsity.mask import Mask, State

NO_RATES: Mapping[str, float] = MappingProxyType({})
NEVER = 1 << 62
"""Number of steps that no training has."""
NO_BUFFERS: Mapping[str, Tensor] = MappingProxyType({})


class MaskedAdamW:
    """AdamW over named parameters: after every step masked elements are exactly 0, frozen ones exactly unchanged.

    Masked and frozen elements get no gradient either, so that neither the clipping norm nor the moments see them.
    Their values are restored *after* the step, because weight decay changes elements without a gradient.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        mask: Mask,
        frozen: Mapping[str, Tensor],
        weight_decay: float,
        rates: Mapping[str, float] = NO_RATES,
        buffers: Mapping[str, Tensor] = NO_BUFFERS,
    ) -> None:
        """Make the optimiser; `frozen` and `rates` are as in a plan (`mirl.methods.plan`).

        `buffers`, such as running means, change in the forward pass; what is frozen of them is put back after each step.
        """
        self._parameters = dict(parameters)
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self._parameters.items():
            groups.setdefault(_factor(name, rates), []).append(parameter)
        self._adamw = torch.optim.AdamW(
            [{"params": own, "factor": factor} for factor, own in groups.items()],
            lr=0.0, weight_decay=weight_decay, fused=True,
        )  # fmt: skip
        self._taken, self._held_after = 0, NEVER
        self._found_inf = torch.zeros((), device=self._adamw.param_groups[0]["params"][0].device)
        # The fused kernel looks at this number on the device, and does nothing where it is 1 (torch.amp.GradScaler's way).
        self._adamw.found_inf = self._found_inf  # type: ignore[attr-defined]
        self._masked: list[Tensor] = [self._parameters[name] for name in mask]
        self._keep = [_like(mask[name], self._parameters[name]) for name in mask]
        tensors: dict[str, Tensor] = {**buffers, **self._parameters}
        self._frozen = [
            (tensors[name], where.to(tensors[name].device), tensors[name].detach().clone())
            for name, where in frozen.items()
        ]
        self._wanted = sum(bool((mask[name] & ~_where_frozen(name, mask, frozen)).any()) for name in mask)
        """Number of prunable parameters that need a gradient in every step; those of which nothing is trained need none."""

    def hold_moments(self, after: int) -> None:
        """Leave the second moments as they are from the step on that comes after so many, at least 1 (STEP, 2302.01172)."""
        assert after > 0, "there are no second moments to hold"
        self._held_after = after

    def step(self, loss: Tensor, learning_rate: float, clip_norm: float) -> Tensor:
        """Take one step from the present gradients; return their global L2 norm before clipping.

        If the norm or `loss` is not finite, neither this step nor any later one changes anything. Both are scalars on
        the device, for which this method does not wait.
        """
        pairs = [(p.grad, keep) for p, keep in zip(self._masked, self._keep) if p.grad is not None]
        assert len(pairs) >= self._wanted, "a prunable parameter has no gradient"
        if pairs:
            torch._foreach_mul_([gradient for gradient, _ in pairs], [keep for _, keep in pairs])
        for parameter, where, _ in self._frozen:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(where, 0)
        norm = nn.utils.clip_grad_norm_(self._parameters.values(), clip_norm).detach()
        self._found_inf.logical_or_(~(norm.isfinite() & loss.isfinite()))
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate * group["factor"]
        if self._taken < self._held_after:
            self._adamw.step()
        else:
            self._step_with_held_moments()
        self._taken += 1
        self._put_back()
        self._adamw.zero_grad(set_to_none=True)
        return norm

    @torch.no_grad()
    def _step_with_held_moments(self) -> None:
        """Take a step of AdamW (1711.05101, algorithm 2) whose second moments, and their correction, are those held.

        No element moves by more than the learning rate, but for weight decay (ours): Adam's steps have that bound, about
        (1412.6980, section 2.1), which is lost where a gradient grows and the moment that it is divided by does not.
        """
        for group in self._adamw.param_groups:
            beta1, beta2 = group["betas"]
            first_scale, second_scale = 1 - beta1 ** (self._taken + 1), 1 - beta2**self._held_after
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self._adamw.state[parameter]
                assert state, "a parameter had no gradient before the second moments were held"
                first = state["exp_avg"].lerp(parameter.grad, 1 - beta1)
                root = (state["exp_avg_sq"] / second_scale).sqrt() + group["eps"]
                change = (first / first_scale / root).clamp(-1, 1)
                moved = parameter * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * change
                for old, new in ((state["exp_avg"], first), (parameter, moved)):
                    old.copy_(torch.where(self._found_inf.bool(), old, new))

    @torch.no_grad()
    def _put_back(self) -> None:
        if self._masked:
            torch._foreach_mul_(self._masked, self._keep)
        for parameter, where, value in self._frozen:
            parameter.copy_(torch.where(where, value, parameter))

    def check(self) -> None:
        """Raise AssertionError if a masked element is not 0 or a frozen one has changed."""
        for parameter, keep in zip(self._masked, self._keep):
            assert not (parameter.detach()[keep == 0] != 0).any(), "a masked weight is not zero"
        for parameter, where, value in self._frozen:
            assert torch.equal(parameter.detach()[where], value[where]), "a frozen weight or buffer has moved"

    def moments(self) -> State:
        """Return the first and second moments as `first.<name>` and `second.<name>`; empty before the first step."""
        moments: State = {}
        for name, parameter in self._parameters.items():
            state = self._adamw.state.get(parameter, {})
            if state:
                moments[f"first.{name}"], moments[f"second.{name}"] = state["exp_avg"], state["exp_avg_sq"]
        return moments

    def restore(self, moments: Mapping[str, Tensor], steps: int) -> None:
        """Continue after `steps` steps of this optimiser with the `moments` that they left."""
        self._taken = steps
        for name, parameter in self._parameters.items():
            if f"first.{name}" in moments:
                self._adamw.state[parameter] = {
                    "step": torch.tensor(float(steps), device=parameter.device),
                    "exp_avg": _like(moments[f"first.{name}"], parameter),
                    "exp_avg_sq": _like(moments[f"second.{name}"], parameter),
                }


def _where_frozen(name: str, mask: Mask, frozen: Mapping[str, Tensor]) -> Tensor:
    """Return where a prunable parameter is frozen; nowhere if nothing is said of it."""
    keep = mask[name]
    return frozen[name].to(keep.device) if name in frozen else torch.zeros_like(keep)


def _factor(name: str, rates: Mapping[str, float]) -> float:
    """Return the rate factor of a parameter: that of the longest prefix in `rates` that fits `name`, else 1."""
    fitting = [beginning for beginning in rates if name.startswith(beginning)]
    return rates[max(fitting, key=len)] if fitting else 1.0


def composed(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Return the rate factors by beginning of a name that give every parameter the product of its factor in both."""
    return {
        beginning: _factor(beginning, ours) * _factor(beginning, theirs) for beginning in {**ours, **theirs}
    }


def _like(values: Tensor, parameter: Tensor) -> Tensor:
    """Copy `values` to the device, dtype and memory format of `parameter`: fused kernels assume all three."""
    return torch.empty_like(parameter, requires_grad=False).copy_(values)
