from typing import Any

import numpy as np
import pytest
import torch

from mirl.config import UserError
from mirl.networks import NETWORKS
from mirl.restore.restorer import Restorer
from mirl.sparsity.mask import State
from tests.enlarging import doing_nothing_to_levels

SIZES = [(1, 1), (1, 37), (5, 3), (16, 24), (33, 50)]


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def count_passes(restorer: Restorer) -> list[tuple[int, ...]]:
    """The shapes that the network is given from now on, to restore; not to be measured."""
    assert restorer.bytes_per_pixel > 0
    shapes: list[tuple[int, ...]] = []
    restorer.network.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
    return shapes


def enough(restorer: Restorer, image_HWC: np.ndarray, pixels: int) -> int:
    """Bytes with which the image is restored in tiles of up to about `pixels` pixels."""
    return restorer.memory_for(pixels, image_HWC.shape[:2], image_HWC.itemsize) - 2


def unchanged(restorer: Restorer, image_HWC: np.ndarray) -> bool:
    """Whether the restorer returns the image, or if it enlarges its bicubic enlargement to one level."""
    found_HWC, expected_HWC = restorer(image_HWC), doing_nothing_to_levels(image_HWC, restorer.scale)
    if restorer.scale == 1:
        return np.array_equal(found_HWC, expected_HWC)
    difference = np.abs(found_HWC.astype(int) - expected_HWC)
    return found_HWC.shape == expected_HWC.shape and difference.max() <= 1 and difference.mean() < 0.01


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_every_size(name: str, does_nothing: Any) -> None:
    restorer = Restorer(does_nothing(name))
    for size in SIZES:
        assert unchanged(restorer, photograph(*size))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_tiled(name: str, does_nothing: Any) -> None:
    whole = Restorer(does_nothing(name))
    image_HWC = photograph(90, 61)
    restorer = Restorer(does_nothing(name), memory=enough(whole, image_HWC, 40 * 40))
    shapes = count_passes(restorer)
    assert unchanged(restorer, image_HWC)
    assert len(shapes) > 1 and max(shape[0] * shape[2] * shape[3] for shape in shapes) <= 40 * 40


def test_is_the_network_on_the_padded_image(make_ticket: Any) -> None:
    restorer = Restorer(make_ticket())
    x_BCHW = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    padded_BCHW = torch.nn.functional.pad(x_BCHW, (0, 3, 0, 1), mode="reflect")
    expected_BCHW = restorer.network(padded_BCHW)[..., :7, :9]
    out_BCHW = restorer.run(x_BCHW)
    assert torch.allclose(out_BCHW, expected_BCHW, atol=1e-6)
    assert not out_BCHW.requires_grad
    assert (out_BCHW - x_BCHW).abs().max() > 1e-3  # it does something


def test_file_and_evaluation_see_the_same(make_ticket: Any) -> None:
    restorer, image_HWC = Restorer(make_ticket()), photograph(13, 10)
    out_BCHW = restorer.run(torch.from_numpy(image_HWC).permute(2, 0, 1)[None] / 255)
    expected = (out_BCHW[0].permute(1, 2, 0) * 255).clamp(0, 255).round().to(torch.uint8).numpy()
    assert np.array_equal(restorer(image_HWC), expected)


@pytest.mark.parametrize(
    ("residual", "expected"),
    [(2, [255, 255, 255]), (-2, [0, 0, 0]), (0.4 / 255, [0, 100, 255]), (0.6 / 255, [1, 101, 255])],
)
def test_clamps_and_rounds(residual: float, expected: list[int], make_ticket: Any) -> None:
    def change(state: State) -> None:
        for name, tensor in state.items():
            tensor.fill_(residual if name == "tail.bias" else 0)

    restorer = Restorer(make_ticket(change=change))
    image_HWC = np.array([0, 100, 255], np.uint8)[None, :, None].repeat(3, axis=2)
    assert restorer(image_HWC)[0, :, 0].tolist() == expected
    unclamped = restorer.run(torch.from_numpy(image_HWC).permute(2, 0, 1)[None] / 255)
    assert unclamped[0, 0, 0, 2] == pytest.approx(1 + residual)


def test_tiles_say_nearly_what_the_whole_says(make_ticket: Any) -> None:
    def local(state: State) -> None:  # what averages over the image becomes a constant 1
        for name, tensor in state.items():
            if "mix_attention" in name:
                tensor.fill_(1.0 if name.endswith("bias") else 0.0)

    whole, image_HWC = Restorer(make_ticket(change=local)), photograph(200, 150)
    tiled = Restorer(make_ticket(change=local), memory=enough(whole, image_HWC, 96 * 96))
    difference = np.abs(whole(image_HWC).astype(int) - tiled(image_HWC))
    assert difference.max() <= 2  # at seams, where a tile does not see beyond its border
    assert (difference == 0).mean() > 0.95


def test_16_bits_stay_16_bits(make_ticket: Any, does_nothing: Any) -> None:
    deep_HWC = np.random.default_rng(0).integers(0, 2**16, (24, 32, 3), dtype=np.uint16)
    assert np.array_equal(Restorer(does_nothing())(deep_HWC), deep_HWC)
    restorer = Restorer(make_ticket())
    expected_BCHW = restorer.run(torch.from_numpy(deep_HWC / 65535).float().permute(2, 0, 1)[None])
    expected = (expected_BCHW[0].permute(1, 2, 0) * 65535).clamp(0, 65535).round().numpy()
    found = restorer(deep_HWC)
    assert found.dtype == np.uint16 and np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("tiled", [False, True])
def test_progress_adds_up_to_one(tiled: bool, does_nothing: Any) -> None:
    restorer, image_HWC = Restorer(does_nothing()), photograph(90, 61)
    shares: list[float] = []
    if tiled:
        restorer = Restorer(does_nothing(), memory=enough(restorer, image_HWC, 40 * 40))
    restorer(image_HWC, shares.append)
    assert sum(shares) == pytest.approx(1) and (len(shares) > 5) == tiled


def test_too_little_memory_is_said_with_what_is_enough(does_nothing: Any) -> None:
    image_HWC = photograph(100, 100)
    with pytest.raises(UserError, match=r"0\.0 MiB of memory is too little .* at least \d+ MiB") as caught:
        Restorer(does_nothing(), memory=1000)(image_HWC)
    enough = int(str(caught.value).split()[-2]) * 2**20
    assert Restorer(does_nothing(), memory=enough)(image_HWC).shape == image_HWC.shape


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 3), np.uint32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(image: np.ndarray, does_nothing: Any) -> None:
    with pytest.raises(UserError, match="expected uint8"):
        Restorer(does_nothing())(image)


def test_weights_of_another_network_are_refused(make_ticket: Any) -> None:
    with pytest.raises(UserError, match="do not fit its network"):
        Restorer(make_ticket(change=lambda state: state.pop("tail.bias")))


@pytest.mark.parametrize("kernels", [True, False])
def test_threads_and_no_gradients_only_inside(does_nothing: Any, kernels: bool) -> None:
    before = torch.get_num_threads()
    seen = []
    restorer = Restorer(does_nothing(), threads=before + 1, skip_zeros=kernels)
    assert restorer.bytes_per_pixel > 0  # measures before the hook is there
    restorer.network.register_forward_pre_hook(
        lambda *_: seen.append((torch.get_num_threads(), torch.is_grad_enabled()))
    )
    restorer(photograph(8, 8))
    restorer.run(torch.zeros(1, 3, 8, 8))
    assert seen == [(1 if kernels else before + 1, False)] * 2  # kernels have threads of their own
    assert torch.get_num_threads() == before and torch.is_grad_enabled()


@pytest.mark.filterwarnings("error")
def test_the_pixels_that_came_are_neither_changed_nor_warned_of(make_ticket: Any) -> None:
    image_HWC = photograph(8, 8)
    image_HWC.flags.writeable = False
    before = image_HWC.copy()
    Restorer(make_ticket())(image_HWC)
    assert np.array_equal(image_HWC, before)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_advance_raises_ends_the_work_and_leaves_the_restorer_as_it_was(
    name: str, make_ticket: Any
) -> None:
    image_HWC = photograph(90, 61)
    memory = enough(Restorer(make_ticket(name)), image_HWC, 40 * 40)
    restorer = Restorer(make_ticket(name), memory=memory)
    expected_HWC = restorer(image_HWC)
    shapes = count_passes(restorer)

    def stop(share: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        restorer(image_HWC, stop)
    assert len(shapes) <= 1
    assert np.array_equal(restorer(image_HWC), expected_HWC)
