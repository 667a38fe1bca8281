import numpy as np
import pytest
import torch

from mirl.restore.tile import spans
from mirl.restore.tiled_image import TiledImage


@pytest.mark.parametrize(("kind", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_levels_there_and_back(kind: type, top: int) -> None:
    image_HWC: np.ndarray = np.linspace(0, top, 5 * 7 * 3).astype(kind).reshape(5, 7, 3)
    picture = TiledImage(image_HWC)
    row, column = next(spans(5, 8, 4)), next(spans(7, 8, 4))
    tile_BChw = picture.tile(row, column)
    assert tile_BChw.shape == (1, 3, 8, 8) and 0 == tile_BChw.min() < tile_BChw.max() == 1
    assert torch.equal(tile_BChw[..., 5, :7], tile_BChw[..., 3, :7])  # reflected
    picture.write(0, tile_BChw[..., :2, :7])
    picture.write(2, tile_BChw[..., 2:5, :7])
    assert picture.restored_HWC.dtype == kind and np.array_equal(picture.restored_HWC, image_HWC)


def test_rounds_to_the_nearest_level_and_stays_in_range() -> None:
    picture = TiledImage(np.zeros((1, 4, 3), np.uint8))
    picture.write(0, (torch.tensor([-3.0, 99.4, 99.6, 300.0]) / 255).expand(1, 3, 1, 4).clone())
    assert picture.restored_HWC[0, :, 1].tolist() == [0, 99, 100, 255]
