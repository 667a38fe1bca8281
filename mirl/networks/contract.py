"""Trial of a network's contract, for a network of a user's own, which has no tests in mirl.

Dims: B batch, C channels, H height, W width.
"""

from collections.abc import Collection

import torch

from mirl.config import UserError
from mirl.networks.heads import ScalesNetwork
from mirl.networks.network import Network
from mirl.networks.picks import PICKS
from mirl.networks.router import ROUTER


def refuse_unfit(network: Network, prunable: Collection[str], side: int) -> None:
    """Raises UserError if a picture of `side` pixels does not get its new size, or a prunable weight has no part in it.

    Also raises UserError if a submodule has a name that is mirl's own, there is no prunable weight, or a parameter has two
    names. `network` has no router and no picks. Leaves gradients and the statistics of batches behind: pass a network
    that is not needed any more.
    """
    title = type(network).__name__
    for name, _ in network.named_children():
        if f"{name}." in (ROUTER, PICKS):
            raise UserError(
                f"{title} has a submodule called {name}, a name that mirl gives to what it adds to a network; rename yours"
            )
    if not prunable:
        raise UserError(f"{title} has no convolution and no linear layer, so there is nothing to prune")
    shared = dict(network.named_parameters(remove_duplicate=False)).keys() - dict(network.named_parameters())
    if shared:
        raise UserError(
            f"{title} has the parameter {min(shared)} under two names; a ticket has each once: keep one of the two"
        )
    for each in network.by_head() if isinstance(network, ScalesNetwork) else [network]:
        _try_out(each, title, side)
    if idle := [name for name in prunable if network.get_parameter(name).grad is None]:
        raise UserError(
            f"{title} has the weight {idle[0]}, which has no part in what its `forward` returns; use it or leave it out"
        )


def _try_out(network: Network, title: str, side: int) -> None:
    """Leave the gradients of a forward pass. Raises UserError if the output has not the size that it should have."""
    image_BCHW = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        out_BCHW = network(image_BCHW.to(memory_format=torch.channels_last))
    large = side * network.scale
    if out_BCHW.shape != (1, 3, large, large) or out_BCHW.dtype != image_BCHW.dtype:
        expected = "the same" if network.scale == 1 else f"1 x 3 x {large} x {large} by its `scale`"
        raise UserError(
            f"{title} makes {_words(out_BCHW)} of {_words(image_BCHW)}, expected {expected}; mend its `forward`"
        )
    out_BCHW.mean().backward()


def _words(tensor_BCHW: torch.Tensor) -> str:
    return f"{' x '.join(map(str, tensor_BCHW.shape))} {tensor_BCHW.dtype}".replace("torch.", "")
