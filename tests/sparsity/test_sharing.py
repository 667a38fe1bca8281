import torch

from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.sparsity.sharing import Sharing


def test_weights_by_who_owns_and_who_uses_them() -> None:
    """The second uses one weight of the first, the third one of each; one weight of `b` is free."""
    kept = {
        "first": {"a": [1, 1, 0, 0], "b": [1, 0]},
        "second": {"a": [1, 0, 1, 0], "b": [0, 0]},
        "third": {"a": [0, 1, 1, 1], "b": [0, 0]},
    }
    masks = {
        name: Mask({layer: torch.tensor(keep).bool() for layer, keep in layers.items()})
        for name, layers in kept.items()
    }
    sharing = Sharing.of(Masks(masks))
    assert sharing.layers == {"a": 4, "b": 2} and sharing.total == 6 and sharing.free == 1
    assert sharing.uses["second"] == {"first": {"a": 1, "b": 0}, "second": {"a": 1, "b": 0}}
    assert sharing.used("first") == {"first": 3}
    assert sharing.used("third") == {"first": 1, "second": 1, "third": 1}
    assert sharing.own("first", "b") == 1
