import numpy as np
import pytest

from mirl.data.degradations import DEGRADATIONS, TEST_DEGRADATIONS, Haze, Noise, procedural_depth

EVERY = {**DEGRADATIONS, **{f"{task} (test)": found for task, found in TEST_DEGRADATIONS.items()}}


@pytest.fixture
def clean(draw):
    return draw(1).astype(np.float32) / 255


@pytest.mark.parametrize("name", EVERY)
def test_the_same_generator_gives_the_same_picture_and_another_one_another(clean, name):
    one, same, other = (EVERY[name](clean, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.parametrize("name", EVERY)
def test_shape_and_type_stay_and_the_clean_picture_is_not_touched(clean, name):
    before = clean.copy()
    degraded = EVERY[name](clean, np.random.default_rng(1))
    assert degraded.shape == clean.shape and degraded.dtype == np.float32
    assert np.array_equal(clean, before) and not np.shares_memory(degraded, clean)


@pytest.mark.parametrize("name", [name for name in EVERY if "noise" not in name])
def test_rain_and_haze_stay_in_range(clean, name):
    for seed in range(30):
        degraded = EVERY[name](clean, np.random.default_rng(seed))
        assert degraded.min() >= 0 and degraded.max() <= 1


def test_the_tasks_are_the_five():
    assert list(DEGRADATIONS) == ["denoise_15", "denoise_25", "denoise_50", "derain", "dehaze"]


@pytest.mark.parametrize("sigma_255", [15, 25, 50])
def test_noise_has_its_strength_and_is_not_clipped(sigma_255):
    white = np.ones((200, 200, 3), np.float32)
    noise = Noise(sigma_255=sigma_255)(white, np.random.default_rng(0)) - 1
    assert noise.std() * 255 == pytest.approx(sigma_255, rel=0.01)
    assert abs(noise.mean()) < 0.002 and noise.max() > sigma_255 / 255


def test_haze_is_the_scattering_model_on_the_depth_it_is_given(clean):
    depth = np.linspace(0.2, 1, 80, dtype=np.float32)[:, None].repeat(100, 1)
    haze = Haze(airlight=(0.9, 0.9), optical_depth=(1.5, 1.5))
    transmission = np.exp(-1.5 * depth)[..., None]
    expected = clean * transmission + 0.9 * (1 - transmission)
    assert np.allclose(haze(clean, np.random.default_rng(0), depth), expected, atol=1e-5)


def test_made_up_depth_is_positive_smooth_and_mostly_farther_at_the_top():
    rng = np.random.default_rng(0)
    depths = [procedural_depth((64, 96), rng) for _ in range(100)]
    for depth in depths:
        assert depth.shape == (64, 96) and depth.dtype == np.float32
        assert depth.min() > 0 and depth.max() == pytest.approx(1)
        assert max(np.abs(np.diff(depth, axis=axis)).max() for axis in (0, 1)) < 0.1
    assert sum(depth[:16].mean() > depth[-16:].mean() for depth in depths) > 70
