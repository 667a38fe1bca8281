"""Picks among the blocks of earlier sub-networks, as they are learned."""

import torch

from mirl import networks
from mirl.networks import NetworkSection
from mirl.networks.picks import FIRST, THRESHOLD, PicksSection
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.training.subnetworks import TrainedSubnetworks

SECTION = NetworkSection(
    name="nafnet", options={"width": 4, "encoder": [1], "middle": 1, "decoder": [1], "shuffle": 1}
)
LAYER = "middle.0.feed_in.weight"  # 16 x 8


def test_what_is_not_picked_is_taken_away_and_its_score_has_the_gradient_of_its_factor() -> None:
    network = networks.build(SECTION.model_copy(update={"picks": PicksSection(outputs=4, inputs=4)}))
    weights = networks.prunable(network, False)
    assert network.get_submodule("picks").get_parameter("tail/weight").eq(FIRST).all()
    owned = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    owned[LAYER][:8] = True
    masks = Masks({"first": Mask(owned), "second": Mask.full(weights)})
    subnetworks = TrainedSubnetworks(network, masks, torch.autocast("cpu", enabled=False), False)
    image_BCHW = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    whole = network(image_BCHW).detach()
    assert torch.equal(subnetworks(image_BCHW, "second"), whole)

    scores = network.get_submodule("picks").get_parameter(LAYER.replace(".", "/"))
    with torch.no_grad():
        scores[1, 0] = THRESHOLD - 1e-6  # of the first's
        scores[3, 0] = 0  # of the second's own: nobody asks
    found = subnetworks(image_BCHW, "second")
    found.square().sum().backward()
    gradient = scores.grad
    assert gradient is not None and gradient[:2].ne(0).all() and gradient[2:].eq(0).all()

    taken = network.get_parameter(LAYER)
    with torch.no_grad():
        before = taken.clone()
        taken[4:8, :4] = 0
        assert torch.equal(network(image_BCHW), found) and not torch.equal(whole, found)
        taken.copy_(before)
    assert taken.grad is not None
    product = (taken.grad * before)[:4, :4].sum()  # a block that is picked: its factor is 1
    assert torch.allclose(gradient[0, 0], product, rtol=1e-4)
