from typing import Any

import numpy as np
import pytest
from PIL import Image

from mirl.config import UserError
from mirl.data.tasks.jpeg import Jpeg
from mirl.data.tasks.social import Social, SocialSection
from tests.data.conftest import Draw

CALM = Jpeg(quality=(95, 95), anywhere=False)


def harm(social: Social, pixels: np.ndarray, seed: int = 0) -> float:
    clean = pixels.astype(np.float32) / 255
    return float(np.abs(social(clean, np.random.default_rng(seed)) - clean).mean())


def test_scaling_down_takes_the_fine_things_away_without_aliasing() -> None:
    """Stripes of one pixel: scaled down without a wider kernel they would become wide ones."""
    stripes = np.zeros((64, 64, 3), np.float32)
    stripes[:, ::2] = 1
    shared = Social(scale=(0.4, 0.4), jpeg=CALM, twice=0)(stripes, np.random.default_rng(0))
    inner = shared[8:-8, 8:-8]
    assert inner.std() < 0.08 and abs(inner.mean() - 0.5) < 0.02


def test_a_picture_within_the_limits_is_only_encoded(draw: Draw) -> None:
    shared = Social(scale=(1.0, 1.0), jpeg=CALM, twice=0)(draw(1) / np.float32(255), np.random.default_rng(0))
    assert np.array_equal(np.rint(shared * 255).astype(np.uint8), CALM.code(draw(1), np.random.default_rng()))


def test_twice_is_the_share_that_is_encoded_again(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(Jpeg, "code", lambda self, pixels, rng: (calls.append(1), pixels)[1])
    for twice, least, most in ((0.0, 40, 40), (1.0, 80, 80), (0.5, 50, 70)):
        calls.clear()
        for seed in range(40):
            harm(Social(scale=(1.0, 1.0), jpeg=CALM, twice=twice), draw(1), seed)
        assert least <= len(calls) <= most


def test_a_picture_of_a_few_pixels_is_still_a_picture() -> None:
    tiny = np.asarray(Image.new("RGB", (3, 2), "red"))
    assert harm(Social(scale=(0.1, 0.1), jpeg=CALM, twice=1), tiny) < 0.2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": [1.0, 0.4]}, "the lowest, 1.0, is above the highest, 0.4; swap them"),
        ({"scale": [0, 1]}, "greater than 0"),
        ({"scale": [0.5, 2]}, "less than or equal to 1"),
        ({"twice": 1.5}, "less than or equal to 1"),
        ({"qualty": [1, 2]}, "did you mean `quality`"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        SocialSection.read({"kind": "social"} | options, "params.yaml")
