"""Photographs that a network enlarges: by the scale everything else goes, too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mirl.command.main import main
from mirl.config import UserError
from mirl.data.bicubic import enlarged, enlarged_levels
from mirl.restore import image_file
from mirl.restore.codec import decode
from mirl.restore.memory import least_memory, pixels_in
from mirl.restore.photograph import Photograph, bytes_held
from mirl.restore.restorer import Restorer
from mirl.restore.tile import Span, grid
from mirl.serve.refusal import Refusal
from mirl.serve.restoring import header
from mirl.tickets import writing
from tests.conftest import TINY

SCALE = TINY["fsrcnn"]["scale"]


def photograph(height: int, width: int, dtype: type = np.uint8, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels)[: 2 + (channels > 1)]
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


@pytest.fixture
def ticket_file(make_ticket: Any, tmp_path: Path) -> Path:
    writing.write(make_ticket("fsrcnn"), tmp_path / "ticket.safetensors")
    return tmp_path / "ticket.safetensors"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_in_tiles_it_is_the_same_photograph(dtype: type, make_ticket: Any) -> None:
    ticket, image_HWC = make_ticket("fsrcnn"), photograph(150, 203, dtype)
    restorer = Restorer(ticket)
    whole_HWC = restorer(image_HWC)
    tiled = Restorer(ticket, memory=restorer.memory_for(96 * 96, (150, 203), image_HWC.itemsize))
    assert len(grid(150, 203, 1, (96, 96)).positions()) > 1
    found_HWC = tiled(image_HWC)
    assert found_HWC.shape == (450, 609, 3) and found_HWC.dtype == dtype
    assert np.abs(found_HWC.astype(int) - whole_HWC).max() <= 1


def test_bands_of_enlarged_tiles_follow_each_other() -> None:
    image = torch.rand(1, 3, 50, 41, dtype=torch.float64).float()

    def run(row: Span, column: Span) -> torch.Tensor:
        tile = image[..., row.start : row.stop, column.start : column.stop]
        return tile.repeat_interleave(2, 2).repeat_interleave(2, 3)

    tiles = grid(50, 41, 1, (20, 18))
    parts = [(top, part.clone()) for top, part in tiles.bands(run, (100, 82), 2)]
    assert [top for top, _ in parts] == list(np.cumsum([0, *(part.shape[2] for _, part in parts)]))[:-1]
    found = torch.cat([part for _, part in parts], dim=2)
    assert torch.allclose(found, image.repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-6)


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("png", "RGBA"), ("png", "LA"), ("tif", "I;16"), ("jpg", "L"), ("webp", "RGB")],
)
def test_a_file_becomes_one_of_the_right_size(
    suffix: str, mode: str, ticket_file: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    channels = {"RGBA": 4, "LA": 2, "RGB": 3}.get(mode, 1)
    pixels = photograph(7, 10, np.uint16 if mode == "I;16" else np.uint8, channels)
    Image.fromarray(pixels).save(source)
    assert main(["restore", str(source), "-o", str(target), "--ticket", str(ticket_file)]) == 0
    with Image.open(target) as made:
        assert made.size == (10 * SCALE, 7 * SCALE) and made.mode == mode
        if mode[-1] == "A":
            alpha = np.asarray(made)[..., -1]
            assert np.array_equal(alpha, enlarged_levels(pixels[..., -1], SCALE))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("height", [1, 16, 37])
def test_alpha_made_in_strips_is_that_of_the_whole(height: int, dtype: type) -> None:
    levels, top = photograph(height, 9, dtype, 1), np.iinfo(dtype).max
    expected = np.floor(np.clip(enlarged(levels, 4).astype(np.float64), 0, top) + 0.5)
    found = enlarged_levels(levels, 4)
    assert found.dtype == dtype and np.abs(found.astype(int) - expected).max() <= (dtype == np.uint16)
    assert enlarged_levels(levels, 1) is levels


def test_what_is_made_counts_as_memory() -> None:
    assert bytes_held(10, 20, 2) == 200 * 8 * 2
    assert bytes_held(10, 20, 2, 4) == 200 * (4 + 16 * 4) * 2
    memory = int(least_memory(5000, 100.0, (3000, 2000), 1, 4)) + 1
    assert 5000 <= pixels_in(memory, 100.0, (3000, 2000), 1, 4) < 6000
    assert pixels_in(memory, 100.0, (3000, 2000), 1) > 100_000


def test_a_file_whose_enlargement_does_not_fit_is_refused_by_its_head(tmp_path: Path) -> None:
    image_file.write(Photograph(rgb_HWC=photograph(100, 100)), tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    memory = bytes_held(100, 100, 1, 4)
    assert decode(data, "a", memory, 4).rgb_HWC.shape == (100, 100, 3)
    with pytest.raises(UserError, match="0.0 megapixels, which enlarged 4 times as wide and high take"):
        decode(data, "a", memory - 1, 4)
    assert header(data, 160_000, 4) == "PNG"
    with pytest.raises(Refusal, match="would become 400 x 400 pixels, expected at most 0.159999 million"):
        header(data, 159_999, 4)


def test_the_memory_that_is_asked_for_is_enough(make_ticket: Any) -> None:
    ticket, image_HWC = make_ticket("fsrcnn"), photograph(40, 60)
    with pytest.raises(UserError, match=r"give it at least (\d+) MiB") as caught:
        Restorer(ticket, memory=0)(image_HWC)
    enough = int(str(caught.value).split("at least ")[1].split()[0]) * 2**20
    assert Restorer(ticket, memory=enough)(image_HWC).shape == (40 * SCALE, 60 * SCALE, 3)
