"""Images whose patches go through different sub-networks."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mirl import networks
from mirl.config import UserError
from mirl.restore.patches import PatchLevels, TileLevels, part_of
from mirl.restore.restorer import Restorer
from mirl.restore.tile import whole
from mirl.tickets import reading, writing
from mirl.tickets.routing import ByDifficulty, Static
from mirl.tickets.ticket import Ticket
from tests.routed_ticket import MASKS, PATCH, routed_ticket

SIZE = (100, 150)
CHECKERED_RQ = torch.arange(20).view(4, 5) % 3


@pytest.fixture(scope="module", params=networks.NETWORKS)
def ticket(request: pytest.FixtureRequest, make_ticket: Any) -> Ticket:
    return routed_ticket(make_ticket, request.param)


@pytest.fixture(scope="module")
def nafnet(make_ticket: Any) -> Ticket:
    return routed_ticket(make_ticket, "nafnet")


def _image(height: int, width: int) -> Tensor:
    """Brighter to the right."""
    draw = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, height, width, generator=draw) * torch.linspace(0.1, 1, width)


def _fix(monkeypatch: pytest.MonkeyPatch, level_RQ: Tensor) -> None:
    """Let the router choose as the test says."""
    monkeypatch.setattr(PatchLevels, "routed", staticmethod(lambda *_: PatchLevels(level_RQ, PATCH)))


@pytest.mark.parametrize("skip_zeros", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_where_all_patches_are_alike_it_is_the_sub_network_alone(
    mask: str, skip_zeros: bool, ticket: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = replace(ticket, **vars(ticket.alone(mask)) | {"routing": Static()})
    expected = Restorer(alone, threads=1, skip_zeros=False).run(_image(*SIZE))
    _fix(monkeypatch, torch.full((4, 5), list(MASKS).index(mask)))
    found = Restorer(ticket, threads=1, skip_zeros=skip_zeros).run(_image(*SIZE))
    assert torch.equal(found, expected) or (skip_zeros and torch.allclose(found, expected, atol=1e-4))


def test_the_kernels_do_what_torch_does(ticket: Ticket, monkeypatch: pytest.MonkeyPatch) -> None:
    _fix(monkeypatch, CHECKERED_RQ)
    expected = Restorer(ticket, threads=1, skip_zeros=False).run(_image(*SIZE))
    found = Restorer(ticket, threads=2).run(_image(*SIZE))
    assert torch.allclose(found, expected, atol=1e-4)
    for end in (0.3, 1.0):
        alone = Restorer(ticket, threads=1, skip_zeros=False).run(_image(*SIZE), work=end)
        assert not torch.allclose(found, alone, atol=1e-3)


def test_far_from_its_neighbours_a_patch_is_what_its_sub_network_makes(
    nafnet: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the means of the whole image, which are set to what they are."""
    draw = torch.Generator().manual_seed(0)
    constant = {
        key: torch.zeros_like(x) if "mix_attention.weight" in key else x for key, x in nafnet.state.items()
    }
    local = replace(nafnet, state=constant)
    image_BCHW = torch.rand(1, 3, 3 * PATCH, 3 * PATCH, generator=draw)
    level_RQ = torch.tensor([[0, 0, 0], [0, 2, 0], [0, 0, 0]])
    _fix(monkeypatch, level_RQ)
    restorer = Restorer(local, threads=1, skip_zeros=False)
    found = restorer.run(image_BCHW)
    middle = slice(PATCH + 14, 2 * PATCH - 14)
    assert torch.equal(found[..., middle, middle], restorer.run(image_BCHW, work=1.0)[..., middle, middle])
    corner = slice(0, 8)
    assert torch.equal(found[..., corner, corner], restorer.run(image_BCHW, work=0.3)[..., corner, corner])


@pytest.mark.parametrize("skip_zeros", [False, True])
def test_tiles_are_what_the_whole_is(
    nafnet: Ticket, skip_zeros: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = {
        key: torch.zeros_like(x) if "mix_attention.weight" in key else x for key, x in nafnet.state.items()
    }
    at_once = Restorer(replace(nafnet, state=local), threads=1, skip_zeros=skip_zeros)
    image_HWC = (_image(400, 300)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    expected = at_once(image_HWC).astype(int)
    memory = at_once.memory_for(192 * 192, image_HWC.shape[:2], 1)
    calls: list[int] = []
    tiled = Restorer(replace(nafnet, state=local), threads=1, skip_zeros=skip_zeros, memory=memory)
    found = tiled(image_HWC, lambda share: calls.append(1))
    assert len(calls) > 3 and np.abs(found - expected).max() <= 1


@pytest.mark.parametrize(
    "image",
    [
        _image(1, 1),
        _image(PATCH - 1, 3),
        torch.zeros(1, 3, 70, 40),
        torch.rand(1, 3, 65, 40, generator=torch.Generator().manual_seed(1)),
        torch.full((1, 3, 40, 40), 1e6),
    ],
    ids=["one pixel", "less than a patch", "flat", "noise", "out of range"],
)
def test_any_image_is_restored(image: Tensor, ticket: Ticket) -> None:
    restorer = Restorer(ticket, threads=1)
    found, share = restorer.measured(image)
    height, width = (side * restorer.scale for side in image.shape[2:])
    assert found.shape == (1, 3, height, width) and bool(found.isfinite().all())
    assert 0.3 < share < 1.2


def test_the_work_is_what_the_patches_take_and_the_router(
    nafnet: Ticket, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = Restorer(nafnet, threads=1, skip_zeros=False)
    _fix(monkeypatch, torch.zeros(4, 5, dtype=torch.int64))
    router = restorer.measured(_image(*SIZE))[1] - 0.3
    assert 0 < router < 0.2
    level_RQ = torch.zeros(4, 5, dtype=torch.int64)
    level_RQ[3] = 2  # four rows of pixels of a hundred
    _fix(monkeypatch, level_RQ)
    assert restorer.measured(_image(*SIZE))[1] == pytest.approx(0.96 * 0.3 + 0.04 + router)
    assert restorer.measured(_image(*SIZE), work=1.0)[1] == 1.0


@pytest.mark.parametrize("skip_zeros", [False, True])
def test_levels_that_are_given_restore_as_those_of_the_router_without_its_work(
    nafnet: Ticket, skip_zeros: bool
) -> None:
    restorer, image = Restorer(nafnet, threads=1, skip_zeros=skip_zeros), _image(*SIZE)
    routed, share = restorer.measured(image, work=0.6)
    levels = restorer.levels(image, work=0.6)
    assert levels is not None
    given, bare = restorer.restored_by(levels, image)
    assert torch.equal(given, routed) and bare == levels.work(SIZE, [0.3, 0.6, 1.0])
    assert 0 < share - bare < 0.2
    other, _ = restorer.restored_by(PatchLevels(CHECKERED_RQ, PATCH), image)
    assert not torch.allclose(other, routed, atol=1e-3)
    for wrong in (PatchLevels(CHECKERED_RQ[:3], PATCH), PatchLevels(CHECKERED_RQ, 2 * PATCH)):
        with pytest.raises(AssertionError, match="another grid"):
            restorer.restored_by(wrong, image)


def test_more_work_goes_to_more_patches(nafnet: Ticket) -> None:
    restorer = Restorer(nafnet, threads=1)
    shares = [restorer.measured(_image(*SIZE), work=work)[1] for work in (0.3, 0.4, 0.55, 0.7, 0.9)]
    assert shares == sorted(shares) and shares[0] < shares[-1]
    levels = restorer.levels(_image(*SIZE), work=0.6)
    assert levels is not None and levels.level_RQ[:, 0].max() < levels.level_RQ[:, -1].min()
    assert restorer.levels(_image(*SIZE), work=1.0) is None


def test_a_sub_network_that_does_not_fit_leaves_the_others_as_they_were(nafnet: Ticket) -> None:
    image_HWC = np.zeros((PATCH, PATCH, 3), np.uint8)
    usual = Restorer(nafnet, threads=1)
    least = usual.memory_for((3 * usual.network.multiple) ** 2, image_HWC.shape[:2], 1)
    restorer = Restorer(nafnet, threads=1, memory=least)
    expected = restorer(image_HWC)
    for _ in range(2):
        with pytest.raises(UserError, match="is too little for this network and image"):
            restorer(image_HWC, work=1.0)
        assert np.array_equal(restorer(image_HWC), expected)


def test_the_kernels_of_every_sub_network_count_in_the_memory(nafnet: Ticket) -> None:
    def held(model: Any) -> float:
        with_kernels, without = (Restorer(model, threads=1, skip_zeros=skip) for skip in (True, False))
        return with_kernels.memory_for(0, (1, 1), 1) - without.memory_for(0, (1, 1), 1)

    assert held(nafnet) == sum(held(nafnet.alone(mask)) for mask in nafnet.masks)


def test_patches_are_chosen_for_one_image(nafnet: Ticket) -> None:
    restorer, two_BCHW = (
        Restorer(nafnet, threads=1, skip_zeros=False),
        _image(PATCH, PATCH).repeat(2, 1, 1, 1),
    )
    with pytest.raises(AssertionError, match="one image, got a batch of 2"):
        restorer.run(two_BCHW)
    assert restorer.run(two_BCHW, work=1.0).shape == two_BCHW.shape


@pytest.mark.parametrize("skip_zeros", [False, True])
def test_the_mean_of_the_scores_can_choose_one_sub_network_for_the_image(
    nafnet: Ticket, skip_zeros: bool
) -> None:
    whole_images = replace(nafnet, routing=nafnet.routing.model_copy(update={"unit": "image"}))
    restorer, image = Restorer(whole_images, threads=1, skip_zeros=skip_zeros), _image(*SIZE)
    chosen = []
    for work in (0.35, 0.6, 0.95):
        restored, share = restorer.measured(image, work=work)
        levels = restorer.levels(image, work=work)
        assert levels is not None and len(levels.level_RQ.unique()) == 1
        chosen.append(list(MASKS)[int(levels.level_RQ[0, 0])])
        alone = Restorer(nafnet.alone(chosen[-1]), threads=1, skip_zeros=skip_zeros)
        assert torch.equal(restored, alone.run(image))  # its own kernels, without tiles of a patch
        assert 0 < share - MASKS[chosen[-1]] < 0.2  # the router
    assert chosen[0] == "easy" and chosen[-1] == "hard"
    dark = Restorer(whole_images, threads=1, skip_zeros=skip_zeros).levels(image * 0.1, work=0.6)
    assert dark is not None and dark.level_RQ.max() == 0


class _Brightness(nn.Module):
    """Scores -m, 0 and m of the sub-networks, m the mean of a patch."""

    def forward(self, patch_BCHW: Tensor) -> Tensor:
        return patch_BCHW.mean((1, 2, 3))[:, None] * torch.tensor([-1.0, 0.0, 1.0])


def test_patches_that_the_edge_cuts_count_by_their_pixels_in_the_mean(nafnet: Ticket) -> None:
    """Half of the patches are bright, and 36 % of the pixels: the last row of patches has four of its own."""
    routing = nafnet.routing
    assert isinstance(routing, ByDifficulty)
    image = torch.zeros(1, 3, 100, 32)
    image[:, :, 64:] = 1
    for unit, price, levels in (
        ("patch", 1.35, [0, 0, 1, 1]),
        ("image", 1.35, [0] * 4),
        ("image", 1.1, [1] * 4),
    ):
        kind = routing.model_copy(update={"unit": unit})
        price *= 2 if unit == "patch" else 1  # at which 1 is worth the medium one
        found = PatchLevels.routed(_Brightness(), part_of(image), (100, 32), kind, price)
        assert found.level_RQ.flatten().tolist() == levels, (unit, price)


def test_work_below_that_of_the_smallest_sub_network_is_refused(nafnet: Ticket) -> None:
    with pytest.raises(UserError, match=r"the work is 0.1, expected a share from 0.3 to 1"):
        Restorer(nafnet).refuse("", 0.1)
    Restorer(nafnet).refuse("derain", 0.5)


def test_the_numbers_of_a_tile_in_the_resolution_of_a_layer() -> None:
    levels = PatchLevels(torch.tensor([[0, 1], [2, 0]]), 8)
    tile = TileLevels(levels, [(whole(8, 8), whole(16))], "cpu")
    assert tile.at(4, 8)[0, 0].tolist() == [[2, 2, 2, 2, 0, 0, 0, 0]] * 4
    assert tile.at(1, 2)[0, 0].tolist() == [[2, 0]]
    assert tile.at(16, 32)[0, 0, 0].tolist() == [2] * 16 + [0] * 16
    assert (tile.side(8), tile.side(4), tile.side(16), tile.present) == (8, 4, 16, [0, 1, 2])
    beyond = TileLevels(levels, [(whole(8, 16), whole(8, 16))], "cpu")
    assert beyond.at(1, 1).item() == 0


def test_a_file_keeps_all_of_it(ticket: Ticket, tmp_path: Any) -> None:
    writing.write(ticket, tmp_path / "t.safetensors")
    again = reading.read(tmp_path / "t.safetensors")
    assert again.routing == ticket.routing and again.masks == ticket.masks and again.network == ticket.network
    image = _image(*SIZE)
    restored = [Restorer(each, threads=1, skip_zeros=False).run(image) for each in (ticket, again)]
    assert torch.equal(*restored)
