"""Structures: groups of weights that come and go together, in shapes that hardware and files can make use of.

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
from mirl.sparsity.schedule import keep_at
from mirl.sparsity.scope import Scope

Scores = Mapping[str, Tensor]


class Structure(Protocol):
    """Rule that cuts a mask to a subset in which units stay or go as a whole."""

    def select(self, scores: Scores, mask: Mask, keep: int, scope: Scope, floor: float) -> Mask:
        """Return a subset of `mask` that keeps `keep` weights, or as many of them as whole units allow.

        `scores`, `scope` and `floor` are as in `mirl.sparsity.scope`. Raises UserError if `keep` cannot be reached.
        """
        ...

    def count(self, mask: Mask, share: float) -> int:
        """Return the `keep` that leaves a share, in (0, 1], of the weights in `mask`."""
        ...

    def units(self, mask: Mask) -> int:
        """Return the number of units of which `mask` keeps something."""
        ...


class Unstructured(Section):
    """Structure in which every weight is a unit by itself."""

    kind: Literal["unstructured"] = "unstructured"

    def select(self, scores: Scores, mask: Mask, keep: int, scope: Scope, floor: float) -> Mask:
        """Keep exactly `keep` weights."""
        return scope(scores, mask, keep, floor)

    def count(self, mask: Mask, share: float) -> int:
        """Return the nearest whole number of weights."""
        return keep_at(mask.kept, share)

    def units(self, mask: Mask) -> int:
        return mask.kept


class Blocks(Section):
    """Blocks of neighbouring outputs and inputs with whole kernels: PnG's micro-structures (the sizes are ours)."""

    kind: Literal["blocks"]
    outputs: Annotated[int, Field(ge=1)] | Literal["all"] = 4
    """Number of neighbouring outputs (first dimension of a weight) of a block, or all of them, so that a block is whole
    input columns; the last block of a layer may have fewer."""
    inputs: int = Field(default=4, ge=1)
    """Number of neighbouring inputs (second dimension of a weight), likewise."""
    least: int = Field(default=0, ge=0)
    """Number of blocks that every layer keeps in any case, as far as it has them: a small layer is few large blocks."""

    def select(self, scores: Scores, mask: Mask, keep: int, scope: Scope, floor: float) -> Mask:
        """Keep whole blocks with `keep` weights or a little fewer: a block that the scope would cut in two goes.

        What `least` keeps may come on top. Raises UserError if `keep` weights do not hold one block.
        """
        live = {name: self._sums(kept.double()) for name, kept in mask.items()}
        means = {
            name: self._sums(scores[name].double() * kept) / live[name].clamp(min=1)
            for name, kept in mask.items()
        }
        wanted = scope({name: self.spread(means[name], mask[name]) for name in mask}, mask, keep, floor)
        whole = {
            name: (self._sums(kept.double()) == live[name]) | self._best(means[name], live[name])
            for name, kept in wanted.items()
        }
        found = Mask({name: kept & self.spread(whole[name], kept) for name, kept in mask.items()})
        if not found.kept:
            raise UserError(
                f"{keep} of {mask.total} weights do not hold one block of {self.outputs} outputs and {self.inputs} inputs; "
                "raise the density, or make the blocks smaller"
            )
        return found

    def count(self, mask: Mask, share: float) -> int:
        """Return the nearest whole number of weights."""
        return keep_at(mask.kept, share)

    def units(self, mask: Mask) -> int:
        return sum(int(self._sums(keep.double()).count_nonzero()) for keep in mask.values())

    def _best(self, means_oi: Tensor, live_oi: Tensor) -> Tensor:
        """Return True at the `least` blocks of a layer with the highest mean scores, ties by place: o x i."""
        ranked = torch.where(live_oi > 0, means_oi, -1.0).flatten().sort(descending=True, stable=True).indices
        best = torch.zeros_like(live_oi, dtype=torch.bool).flatten()
        best[ranked[: self.least]] = True
        return best.view(live_oi.shape)

    def _sides(self, weight: Tensor) -> tuple[int, int]:
        """Return the outputs and inputs of a block of that weight, at most as many as the weight has."""
        outputs, inputs = weight.shape[:2]
        return outputs if self.outputs == "all" else min(self.outputs, outputs), min(self.inputs, inputs)

    def _sums(self, values: Tensor) -> Tensor:
        """Sum over the blocks of a weight: o x i."""
        values_OI = values.flatten(2).sum(2) if values.ndim > 2 else _as_matrix(values)
        outputs, inputs = self._sides(values_OI)
        values_OI = F.pad(values_OI, (0, -values_OI.shape[1] % inputs, 0, -values_OI.shape[0] % outputs))
        tall, wide = values_OI.shape[0] // outputs, values_OI.shape[1] // inputs
        return values_OI.view(tall, outputs, wide, inputs).sum((1, 3))

    def spread(self, value_oi: Tensor, like: Tensor) -> Tensor:
        """Repeat the value of each block for each of its weights, in the shape of `like`."""
        outputs, inputs = _as_matrix(like).shape[:2]
        tall, wide = self._sides(_as_matrix(like))
        value_OI = value_oi.repeat_interleave(tall, 0).repeat_interleave(wide, 1)
        value_OI = value_OI[:outputs, :inputs]
        shape = (outputs, inputs, *[1] * (like.ndim - 2)) if like.ndim > 1 else like.shape
        return value_OI.reshape(shape).expand(like.shape)


class NOfM(Section):
    """N of every M consecutive inputs, the same for a group of outputs: N:M sparsity (SR-STE, 2102.04010; groups ours).

    The density says what N is: 0.5 with an M of 4 is 2:4. Beside layers that are kept whole it is also the share of the
    parent's N: half of what a 2:4 keeps is 1:4. The scope has no say, as every group keeps as much.
    """

    kind: Literal["n_of_m"]
    m: int = Field(ge=2)
    """Number of consecutive inputs (second dimension of a weight, at each place of its kernel) of which N are kept."""
    outputs: int = Field(default=1, ge=1)
    """Number of neighbouring outputs that keep the same inputs."""
    indivisible: Literal["refuse", "keep"] = "refuse"
    """Handling of a layer whose inputs `m` does not divide: refuse it with an error, or keep it as it is."""

    def select(self, scores: Scores, mask: Mask, keep: int, scope: Scope, floor: float) -> Mask:
        """Keep N of M in every layer that M divides.

        Raises UserError if `keep` is not N of M, or M does not divide a layer and `indivisible` is refuse.
        """
        odd = [name for name, kept in mask.items() if _as_matrix(kept).shape[1] % self.m]
        n = self._n(keep, mask.total, self.m) or self._n(keep, mask.kept, self._before(mask, odd))
        if not n:
            raise UserError(
                f"{keep} of {mask.total} weights ({keep / mask.total:.4%}) are not N of {self.m}; choose a density of "
                f"1/{self.m} to {self.m - 1}/{self.m}, or another `m`"
            )
        if odd and self.indivisible == "refuse":
            inputs = _as_matrix(mask[odd[0]]).shape[1]
            raise UserError(
                f"{odd[0]} has {inputs} inputs, which {self.m} does not divide ({len(odd)} such layers); use another `m`, "
                "or `indivisible: keep`, which leaves them whole"
            )
        return Mask(
            {name: kept if name in odd else self._best(scores[name], kept, n) for name, kept in mask.items()}
        )

    def count(self, mask: Mask, share: float) -> int:
        """Return the `keep` for an N of `share` times M, whatever `mask` keeps already."""
        return keep_at(mask.total, share)

    def units(self, mask: Mask) -> int:
        return sum(int(_grouped(keep.double(), self.outputs).count_nonzero()) for keep in mask.values())

    def _n(self, keep: int, of: int, whole: int) -> int:
        """Return the N that `keep` is if `of` weights are an N of `whole`; 0 if it is none from 1 to `m` - 1."""
        n, rest = divmod(keep * whole + of // 2, of)
        exact = abs(rest - of // 2) <= self.m  # `keep` was rounded to a whole weight
        return n if exact and 0 < n < self.m else 0

    def _before(self, mask: Mask, odd: list[str]) -> int:
        """Return the N of `mask`, beside the layers `odd`, which stay whole: a share of `mask` is one of that N."""
        pruned = Mask({name: kept for name, kept in mask.items() if name not in odd})
        return round(self.m * pruned.density)

    def _best(self, scores: Tensor, kept: Tensor, n: int) -> Tensor:
        """Keep the `n` inputs of each group with the highest mean scores, ties by place; survivors alone count."""
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
    """Return the weight with at least two dimensions: one that has fewer becomes a single output."""
    return weight if weight.ndim > 1 else weight.reshape(1, -1)


def _grouped(values: Tensor, outputs: int) -> Tensor:
    """Sum over groups of neighbouring outputs: o x I x kernel."""
    values = _as_matrix(values)
    padded = torch.cat([values, values.new_zeros(-values.shape[0] % outputs, *values.shape[1:])])
    return padded.view(-1, outputs, *values.shape[1:]).sum(1)
