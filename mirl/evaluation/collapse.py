"""Detection of collapse: a layer or a path that is gone, or a network that has quietly become the identity.

Collapse was seen with one global threshold over layers that start at different scales: those with small initial
weights go first, then the path through them is cut and the output is the input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd
import torch
from torch import Tensor, nn

from mirl.sparsity.mask import Mask

IDENTITY_CHANGE = 0.05
"""A network that changes its input by less than this share of what is needed is the identity (ours)."""

LEARNED_GAIN_DB = 0.1
"""A network that gains less than this over its input on a task did not learn the task (ours)."""

KINDS = ("layer gone", "path cut", "identity", "did not learn")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sign of collapse: a kind of KINDS, the parameter or the task it was seen at, and a sentence."""

    kind: str
    layer: str
    """Name of the prunable parameter, or of the restoration task for `identity` and `did not learn`."""
    detail: str

    def plain(self) -> dict[str, str]:
        """Return the finding as plain data, as findings.json holds it."""
        return asdict(self)


def findings(
    subnetworks: Mapping[str, tuple[nn.Module, Mask]], probe_BCHW: Tensor, scores: pd.DataFrame, protocol: str
) -> list[Finding]:
    """Return everything that is wrong with a ticket; empty if nothing is.

    `subnetworks`: the network and the mask of each sub-network by its name; each network carries the masked weights.
    `probe_BCHW` is a small degraded batch on the networks' device, its sides multiples of what they declare. `scores` is
    the table of `score`.
    """
    structural = [
        replace(finding, detail=f"in the sub-network {name}, {finding.detail}")
        if len(subnetworks) > 1
        else finding
        for name, (network, mask) in subnetworks.items()
        for finding in (*lost_layers(mask), *cut_paths(network, mask, probe_BCHW))
    ]
    return [*structural, *unlearned(scores, protocol)]


def lost_layers(mask: Mask) -> list[Finding]:
    """Find the prunable parameters of which nothing is kept."""
    return [
        Finding(kind="layer gone", layer=name, detail=f"none of its {keep.numel()} weights is kept")
        for name, keep in mask.items()
        if not bool(keep.any())
    ]


def cut_paths(network: nn.Module, mask: Mask, probe_BCHW: Tensor, seed: int = 0) -> list[Finding]:
    """Find the prunable parameters that keep weights through which nothing flows any more.

    Their gradient is exactly zero for the sum of the outputs, each weighed with a random number so that no
    two contributions cancel. Weights that are zero by value do not matter, only the flow does. The network's
    parameters, gradients and mode stay as they were.
    """
    parameters = dict(network.named_parameters())
    names = [name for name, keep in mask.items() if bool(keep.any())]
    gradients = _gradients(network, [parameters[name] for name in names], probe_BCHW, seed)
    found = []
    for name, gradient in zip(names, gradients):
        keep = mask[name]
        if gradient is None or not bool((gradient[keep.to(gradient.device)] != 0).any()):
            detail = f"it keeps {int(keep.sum())} of {keep.numel()} weights, but nothing flows through them"
            found.append(Finding(kind="path cut", layer=name, detail=detail))
    return found


def unlearned(scores: pd.DataFrame, protocol: str) -> list[Finding]:
    """Find the tasks whose output is the input, or no better than it, by the means over a task's images."""
    rows = scores[scores["protocol"] == protocol]
    found = []
    for task, group in rows.groupby("task"):
        change = float(group["change"].mean())
        gain_db = float((group["psnr_db"] - group["input_psnr_db"]).mean())
        if change < IDENTITY_CHANGE:
            share = f"it changes {100 * change:.1f} % of what is needed"
            detail = f"its output is its input: {share} ({gain_db:+.2f} dB)"
            found.append(Finding(kind="identity", layer=str(task), detail=detail))
        elif gain_db < LEARNED_GAIN_DB:
            detail = f"its output is no better than its input ({gain_db:+.2f} dB)"
            found.append(Finding(kind="did not learn", layer=str(task), detail=detail))
    return found


def _gradients(
    network: nn.Module, weights: Sequence[nn.Parameter], probe_BCHW: Tensor, seed: int
) -> Sequence[Tensor | None]:
    if not weights:
        return []
    training, required = network.training, [weight.requires_grad for weight in weights]
    try:
        network.eval()
        for weight in weights:
            weight.requires_grad_(True)
        with torch.enable_grad():
            output = network(probe_BCHW)
            generator = torch.Generator().manual_seed(seed)
            weighing = torch.randn(output.shape, generator=generator).to(output)
            if not output.requires_grad:  # no weight is used at all
                return [None] * len(weights)
            return torch.autograd.grad((output * weighing).sum(), list(weights), allow_unused=True)
    finally:
        network.train(training)
        for weight, before in zip(weights, required):
            weight.requires_grad_(before)
