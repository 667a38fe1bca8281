import io
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from PIL import Image

from mirl.data.leaks import HeldOut, Leak, in_words
from tests.data.conftest import Draw


def reencoded(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=60)
    return np.asarray(Image.open(file))


def resized(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((77, 61)))


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda pixels: pixels,
    "cropped by a row and a column": lambda pixels: pixels[1:, :-1],
    "encoded anew": reencoded,
    "resized": resized,
    "resized after a cut": lambda pixels: resized(pixels[1:, 1:-1]),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_found(draw: Draw, change: str) -> None:
    held_out = HeldOut()
    for seed in (1, 2):
        held_out.add(f"test{seed}", draw(seed), partial(draw, seed))
    assert held_out.shown_by("train", COPIES[change](draw(2))) == [Leak(train="train", test="test2")]


def test_another_picture_is_no_leak(draw: Draw) -> None:
    held_out = HeldOut()
    assert held_out.shown_by("a", draw(1)) == []
    held_out.add("test", draw(1), lambda: draw(1))
    assert held_out.shown_by("a", draw(2)) == []


def test_a_thumbnail_alone_convicts_nobody(draw: Draw) -> None:
    """The same blurred, with another texture: near in 16 x 16, far when looked at closely."""
    flat = np.full((160, 160, 3), 128, np.uint8)
    texture = np.random.default_rng(0).integers(0, 255, (160, 160, 3), np.uint8)
    held_out = HeldOut()
    held_out.add("test", flat, lambda: flat)
    assert held_out.shown_by("train", texture) == []


def test_words_count_training_pictures_and_name_three() -> None:
    leaks = [Leak(train=f"a{k}", test=f"b{k}") for k in range(4)] + [Leak(train="a0", test="b9")]
    assert in_words(leaks) == "4 pictures of train stand in test too: a0 is b0; a1 is b1; a2 is b2; …"
    assert in_words(leaks[:1]) == "1 picture of train stands in test too: a0 is b0"
