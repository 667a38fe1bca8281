"""Selection of the tensors of a network that may be pruned."""

from torch import nn

from mirl.networks.promptir import PromptBlock
from mirl.networks.router import ROUTER

WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
"""Module types whose weight is prunable. By type, so that no norm, bias or temperature slips in by name."""


def prunable(network: nn.Module, prompts: bool) -> dict[str, nn.Parameter]:
    """Return the prunable parameters of `network` by name, in name order.

    These are the weights of convolutions and linear layers, those of a router left out, and with `prompts` the prompt
    tensors too.
    """
    found: dict[str, nn.Parameter] = {}
    for name, module in network.named_modules():
        if name.startswith(ROUTER):
            continue
        if isinstance(module, WEIGHTED):
            found[f"{name}.weight"] = module.get_parameter("weight")
        elif prompts and isinstance(module, PromptBlock):
            found[f"{name}.prompts"] = module.prompts
    return {name: found[name] for name in sorted(found)}
