import time

import numpy as np
import pytest

from mirl.data.rain import KINDS, Rain, RainKind, streaks
from tests.data.conftest import Draw


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    return -10 * np.log10(np.mean((one - other) ** 2))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_rains(draw: Draw, name: str) -> None:
    clean = draw(1, 120, 160).astype(np.float32) / 255
    for seed in range(10):
        rainy = Rain(kinds=(name,))(clean, np.random.default_rng(seed))
        assert 5 < psnr_db(rainy, clean) < 45


@pytest.mark.parametrize("name", ["light", "threads"])
def test_light_rain_is_as_strong_as_the_published_light_rain(name: str) -> None:
    """Rain100L's inputs: 18.6 to 33.5 dB, median 25.6, streaks on 9 to 40 % of the picture."""
    clean = np.full((160, 160, 3), 0.4, np.float32)
    rng = np.random.default_rng(0)
    rainy = [Rain(kinds=(name,))(clean, rng) for _ in range(80)]
    values = [psnr_db(picture, clean) for picture in rainy]
    assert 22 < np.median(values) < 28
    assert np.percentile(values, 5) < 20 and np.percentile(values, 95) > 30
    covered = np.median([np.mean(picture[..., 0] - 0.4 > 0.02) for picture in rainy])
    assert 0.1 < covered < 0.4


def test_rain_only_adds_light_but_for_a_veil(draw: Draw) -> None:
    clean = draw(1).astype(np.float32) / 255
    for seed in range(20):
        assert np.all(Rain(kinds=("light",))(clean, np.random.default_rng(seed)) >= clean - 1e-6)


@pytest.mark.parametrize(("slant", "lag"), [(0, (8, 0)), (45, (6, 6))])
def test_streaks_run_along_their_slant(slant: int, lag: tuple[int, int]) -> None:
    kind = RainKind(
        weight=1, layers=(1,), slant=(slant, slant), spread=0, coverage=(0.2, 0.2), length=(40, 40),
        width=(0.6, 0.6), brightness=(0.3, 0.3),
    )  # fmt: skip
    along, across = [], []
    for seed in range(8):
        rain = streaks((150, 150), kind, np.random.default_rng(seed))
        sides = [_likeness(rain, lag[0], side * lag[1]) for side in (1, -1)]
        along.append(max(sides))
        across.append(_likeness(rain, 0, 8))
    assert np.mean(along) > 0.4 and np.mean(along) > 2.5 * np.mean(across)


def _likeness(rain: np.ndarray, down: int, right: int) -> float:
    """How much the picture resembles itself moved by (down, right), 1 = the same."""
    moved = np.roll(rain, (down, right), (0, 1))
    return float(np.mean(rain * moved) / np.mean(rain**2))


def test_streaks_fall_everywhere_also_at_the_border() -> None:
    kind = KINDS["dense"]
    light = np.mean([streaks((64, 64), kind, np.random.default_rng(seed)) for seed in range(150)], axis=0)
    inner = light[16:48, 16:48].mean()
    for border in (light[:8], light[-8:], light[:, :8], light[:, -8:]):
        assert border.mean() == pytest.approx(inner, rel=0.2)


def test_the_kinds_differ(draw: Draw) -> None:
    clean = draw(1, 120, 160).astype(np.float32) / 255
    middle = {}
    for name in KINDS:
        rng = np.random.default_rng(0)
        middle[name] = np.median([psnr_db(Rain(kinds=(name,))(clean, rng), clean) for _ in range(30)])
    assert middle["heavy"] < middle["dense"] < middle["light"]


def test_a_patch_of_rain_takes_little_time() -> None:
    clean, rng, rain = np.full((64, 64, 3), 0.4, np.float32), np.random.default_rng(0), Rain()
    started = time.process_time()
    for _ in range(50):
        rain(clean, rng)
    assert (time.process_time() - started) / 50 < 0.006  # 0.7 ms alone; room for a busy machine
