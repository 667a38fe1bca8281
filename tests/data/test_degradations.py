import numpy as np
import pytest

from mirl.data.degradations import Haze, Noise, procedural_depth
from tests.data.conftest import Draw


@pytest.fixture
def clean(draw: Draw) -> np.ndarray:
    return draw(1).astype(np.float32) / 255


@pytest.mark.parametrize("sigma_255", [15, 25, 50])
def test_noise_has_its_strength_and_is_not_clipped(sigma_255: int) -> None:
    white = np.ones((200, 200, 3), np.float32)
    noise = Noise(sigma_255=sigma_255)(white, np.random.default_rng(0)) - 1
    assert noise.std() * 255 == pytest.approx(sigma_255, rel=0.01)
    assert abs(noise.mean()) < 0.002 and noise.max() > sigma_255 / 255


def test_haze_is_the_scattering_model_on_the_depth_it_is_given(clean: np.ndarray) -> None:
    depth = np.linspace(0.2, 1, 80, dtype=np.float32)[:, None].repeat(100, 1)
    haze = Haze(airlight=(0.9, 0.9), optical_depth=(1.5, 1.5))
    transmission = np.exp(-1.5 * depth)[..., None]
    expected = clean * transmission + 0.9 * (1 - transmission)
    assert np.allclose(haze(clean, np.random.default_rng(0), depth), expected, atol=1e-5)


def test_made_up_depth_is_positive_smooth_and_mostly_farther_at_the_top() -> None:
    rng = np.random.default_rng(0)
    depths = [procedural_depth((64, 96), rng) for _ in range(100)]
    for depth in depths:
        assert depth.shape == (64, 96) and depth.dtype == np.float32
        assert depth.min() > 0 and depth.max() == pytest.approx(1)
        assert max(np.abs(np.diff(depth, axis=axis)).max() for axis in (0, 1)) < 0.1
    assert sum(depth[:16].mean() > depth[-16:].mean() for depth in depths) > 70
