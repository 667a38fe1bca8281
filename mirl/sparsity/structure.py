"""Which weights come and go together: the shapes that hardware and files can make use of.

A structure joins weights to units, which a scope chooses by their mean scores.

Dimensions: O outputs and I inputs of a weight, the rest its kernel; o groups of outputs, i groups of inputs.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Protocol

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mirl.config import Section, UserError
from mirl.sparsity.mask import Mask
from mirl.sparsity.scope import Scope

Scores = Mapping[str, Tensor]


class Structure(Protocol):
    """Cuts a mask to a subset in which units stay or go as a whole."""

    def select(self, scores: Scores, mask: Mask, keep: int, scope: Scope, floor: float) -> Mask:
        """A subset of `mask` that keeps `keep` weights, or as many of them as whole units allow.

        `scores`, `scope` and `floor` as in `mirl.sparsity.scope`. Raises UserError if that cannot be reached.
        """
        ...


class Unstructured(Section):
    """Every weight by itself."""

    kind: Literal["unstructured"] = "unstructured"

    def select(self, scores: Scores, mask: Mask, keep: int, scope: Scope, floor: float) -> Mask:
        """Exactly `keep` weights."""
        return scope(scores, mask, keep, floor)


class Blocks(Section):
    """Blocks of neighbouring outputs and inputs with their whole kernels: PnG's micro-structures (the sizes are ours)."""

    kind: Literal["blocks"]
    outputs: int = Field(default=4, ge=1)
    """Neighbouring outputs (first dimension of a weight) of a block; the last ones of a layer may be fewer."""
    inputs: int = Field(default=4, ge=1)
    """Neighbouring inputs (second dimension of a weight), likewise."""

    def select(self, scores: Scores, mask: Mask, keep: int, scope: Scope, floor: float) -> Mask:
        """Whole blocks with `keep` weights or a little fewer: one that the scope would cut in two goes.

        Raises UserError if `keep` does not hold one block.
        """
        live = {name: self._sums(kept.double()) for name, kept in mask.items()}
        means = {
            name: self._sums(scores[name].double() * kept) / live[name].clamp(min=1)
            for name, kept in mask.items()
        }
        wanted = scope({name: self._spread(means[name], mask[name]) for name in mask}, mask, keep, floor)
        whole = {name: self._sums(kept.double()) == live[name] for name, kept in wanted.items()}
        found = Mask({name: kept & self._spread(whole[name], kept) for name, kept in mask.items()})
        if not found.kept:
            raise UserError(
                f"{keep} of {mask.total} weights do not hold one block of {self.outputs} outputs and {self.inputs} inputs; "
                "raise the density, or make the blocks smaller"
            )
        return found

    def _sums(self, values: Tensor) -> Tensor:
        """Sums over the blocks of a weight: o x i."""
        values_OI = values.flatten(2).sum(2) if values.ndim > 2 else _as_matrix(values)
        pad = (0, -values_OI.shape[1] % self.inputs, 0, -values_OI.shape[0] % self.outputs)
        values_OI = F.pad(values_OI, pad)
        tall, wide = values_OI.shape[0] // self.outputs, values_OI.shape[1] // self.inputs
        return values_OI.view(tall, self.outputs, wide, self.inputs).sum((1, 3))

    def _spread(self, value_oi: Tensor, like: Tensor) -> Tensor:
        """What each block has, for each of its weights."""
        outputs, inputs = _as_matrix(like).shape[:2]
        value_OI = value_oi.repeat_interleave(self.outputs, 0).repeat_interleave(self.inputs, 1)
        value_OI = value_OI[:outputs, :inputs]
        shape = (outputs, inputs, *[1] * (like.ndim - 2)) if like.ndim > 1 else like.shape
        return value_OI.reshape(shape).expand(like.shape)


class NOfM(Section):
    """N of every M consecutive inputs, the same for a group of outputs: N:M sparsity (SR-STE, 2102.04010; groups are ours).

    The density says what N is: 0.5 with an M of 4 is 2:4. The scope has no say, as every group keeps as much.
    """

    kind: Literal["n_of_m"]
    m: int = Field(ge=2)
    """Consecutive inputs (second dimension of a weight, at each place of its kernel) that N are kept of."""
    outputs: int = Field(default=1, ge=1)
    """Neighbouring outputs that keep the same inputs."""
    indivisible: Literal["refuse", "keep"] = "refuse"
    """What becomes of a layer whose inputs `m` does not divide: an error, or it stays as it is."""

    def select(self, scores: Scores, mask: Mask, keep: int, scope: Scope, floor: float) -> Mask:
        """N of M in every layer that M divides. Raises UserError if `keep` is not N of M, or M does not divide a layer."""
        n, rest = divmod(keep * self.m + mask.total // 2, mask.total)
        exact = abs(rest - mask.total // 2) <= self.m  # `keep` was rounded to a whole weight
        if not (exact and 0 < n < self.m):
            raise UserError(
                f"{keep} of {mask.total} weights ({keep / mask.total:.4%}) are not N of {self.m}; choose a density of "
                f"1/{self.m} to {self.m - 1}/{self.m}, or another `m`"
            )
        odd = [name for name, kept in mask.items() if _as_matrix(kept).shape[1] % self.m]
        if odd and self.indivisible == "refuse":
            inputs = _as_matrix(mask[odd[0]]).shape[1]
            raise UserError(
                f"{odd[0]} has {inputs} inputs, which {self.m} does not divide ({len(odd)} such layers); use another `m`, "
                "or `indivisible: keep`, which leaves them whole"
            )
        return Mask(
            {name: kept if name in odd else self._best(scores[name], kept, n) for name, kept in mask.items()}
        )

    def _best(self, scores: Tensor, kept: Tensor, n: int) -> Tensor:
        """Of each group the `n` inputs with the highest mean scores, ties by place; survivors alone count."""
        live = kept.double()
        pooled = _grouped(scores.double() * live, self.outputs) / _grouped(live, self.outputs).clamp(min=1)
        pooled = torch.where(_grouped(live, self.outputs) > 0, pooled, -1.0)
        outer, inner = pooled.shape[0], pooled.shape[2:]
        groups = pooled.view(outer, -1, self.m, *inner)
        order = groups.sort(dim=2, descending=True, stable=True).indices
        best = (
            torch.zeros_like(groups, dtype=torch.bool).scatter_(2, order[:, :, :n], True).view(pooled.shape)
        )
        return kept & best.repeat_interleave(self.outputs, 0)[: kept.shape[0]].view(kept.shape)


AnyStructure = Annotated[Unstructured | Blocks | NOfM, Field(discriminator="kind")]
"""`structure:` of an arm."""

STRUCTURES: dict[str, type[Section]] = {"unstructured": Unstructured, "blocks": Blocks, "n_of_m": NOfM}
"""`kind` of a structure -> its section."""


def _as_matrix(weight: Tensor) -> Tensor:
    """A weight with at least two dimensions: one that has fewer is a single output."""
    return weight if weight.ndim > 1 else weight.reshape(1, -1)


def _grouped(values: Tensor, outputs: int) -> Tensor:
    """Sums over groups of neighbouring outputs: o x I x kernel."""
    values = _as_matrix(values)
    padded = torch.cat([values, values.new_zeros(-values.shape[0] % outputs, *values.shape[1:])])
    return padded.view(-1, outputs, *values.shape[1:]).sum(1)
