import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mirl.config import UserError
from mirl.data.tasks.jpeg import Jpeg, JpegSection
from tests.data.conftest import Draw


def coded(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_a_test_picture_is_what_a_file_of_that_quality_holds(draw: Draw) -> None:
    task = JpegSection(kind="jpeg", quality=(30, 30)).task("coded")
    assert np.array_equal(task.test_input("a", draw(1)), coded(draw(1), 30))


def test_all_qualities_are_drawn_both_ends_included(draw: Draw) -> None:
    expected = {coded(draw(1), quality).tobytes() for quality in (10, 11, 12)}
    jpeg = Jpeg(quality=(10, 12), anywhere=False)
    found = {jpeg.code(draw(1), np.random.default_rng(seed)).tobytes() for seed in range(40)}
    assert found == expected


def test_in_training_the_blocks_begin_anywhere(draw: Draw) -> None:
    """Of one quality: only the place of the blocks is left to chance."""
    jpeg = Jpeg(quality=(10, 10))
    found = [jpeg.code(draw(1), np.random.default_rng(seed)) for seed in range(30)]
    assert len({pixels.tobytes() for pixels in found}) > 20
    assert {pixels.shape for pixels in found} == {draw(1).shape}


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        ([60, 10], r"is \[60, 10\], but the lowest, 60, is above the highest, 10; swap them"),
        ([0, 10], "greater than or equal to 1"),
        ([10, 100], "less than or equal to 95"),
        ([10.5, 60], "a valid integer"),
        (["10", 60], "a valid integer"),
        (10, "a valid tuple"),
        ([10], "is missing"),
    ],
)
def test_qualities_that_make_no_sense_are_refused(quality: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        JpegSection.read({"kind": "jpeg", "quality": quality}, "params.yaml")
