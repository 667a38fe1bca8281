import numpy as np
import pytest

from mirl.data.bicubic import cut_to_multiple, enlarged, reduced
from mirl.data.images import read_image
from tests.data.conftest import Draw
from tests.pack import PACK, SETS, needs_pack

KERNEL_X2 = [
    -0.01171875,
    -0.03515625,
    0.11328125,
    0.43359375,
    0.43359375,
    0.11328125,
    -0.03515625,
    -0.01171875,
]
"""Keys' cubic, a = -0.5, at 1/4, 3/4, ... of a sample: what MATLAB halves a picture with."""


def test_an_edge_halved_is_the_kernel_added_up_and_rounded_after_each_direction() -> None:
    step = np.zeros((16, 16), np.uint8)
    step[:, 8:] = 255
    # Beside the edge the last three taps, 255 * 0.06640625 = 16.93; next to that the last, below 0, which is clipped.
    row = [0, 0, 0, 17, 238, 255, 255, 255]
    assert sum(KERNEL_X2[5:]) * 255 == 16.93359375
    assert reduced(step, 2).tolist() == [row] * 8
    assert reduced(step.T.copy(), 2).tolist() == np.array([row] * 8).T.tolist()


def test_a_corner_is_rounded_between_the_directions() -> None:
    """Columns first: 111 and 29 are rounded before they are weighed again."""
    point = np.zeros((16, 16), np.uint8)
    point[8, 8] = 255
    # 255 * 0.43359375 = 110.57 -> 111; 111 * 0.43359375 = 48.13, 111 * 0.11328125 = 12.57; 29 * 0.43359375 = 12.57
    assert reduced(point, 2)[3:5, 3:5].tolist() == [[3, 13], [13, 48]]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_flat_picture_stays_flat_up_to_the_border(scale: int) -> None:
    flat = np.full((12, 24, 3), 77, np.uint8)
    assert reduced(flat, scale).shape == (12 // scale, 24 // scale, 3)
    assert (reduced(flat, scale) == 77).all()
    assert np.abs(enlarged(flat, scale) - 77).max() < 1e-4 and enlarged(flat, scale).shape[0] == 12 * scale


def test_enlarging_draws_a_cubic_through_the_samples() -> None:
    """An odd scale has every sample again in the middle of its square; between them a line stays a line."""
    line = np.arange(12, dtype=np.float32)[:, None] * np.ones((1, 9), np.float32)
    large = enlarged(line, 3)
    assert np.abs(large[1::3, 1::3] - line).max() < 1e-5
    assert np.abs(large[6:-6, 0] - (np.arange(36)[6:-6] - 1) / 3).max() < 1e-5
    assert enlarged(line, 1).tolist() == line.tolist()


def test_the_border_is_mirrored_with_its_edge() -> None:
    assert enlarged(np.array([[0.0, 1.0]]), 2).tolist() == [[-0.09375, 0.203125, 0.796875, 1.09375]] * 2


def test_a_picture_is_cut_at_the_bottom_and_the_right() -> None:
    pixels = np.arange(35).reshape(5, 7)
    assert cut_to_multiple(pixels, 3).tolist() == [
        [0, 1, 2, 3, 4, 5],
        [7, 8, 9, 10, 11, 12],
        [14, 15, 16, 17, 18, 19],
    ]
    assert cut_to_multiple(pixels, 1).shape == (5, 7)


def test_every_direction_and_every_plane_is_treated_alike(draw: Draw) -> None:
    pixels = draw(1, 24, 36)
    assert np.array_equal(reduced(pixels, 3)[..., 1], reduced(pixels[..., 1], 3))
    assert np.array_equal(reduced(pixels[::-1, ::-1], 2), reduced(pixels, 2)[::-1, ::-1])


@needs_pack
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", SETS)
def test_no_sample_differs_from_what_matlab_reduced(name: str, scale: int) -> None:
    photographs = sorted((PACK / f"SR/{name}/HR").glob("*.png"))
    assert len(photographs) == {"Set5": 5, "Set14": 14, "B100": 100}[name]
    for path in photographs:
        found = reduced(cut_to_multiple(read_image(path), scale), scale)
        wanted = read_image(PACK / f"SR/{name}/LR_bicubic/X{scale}/{path.stem}x{scale}.png")
        assert np.array_equal(found, wanted), path.stem
