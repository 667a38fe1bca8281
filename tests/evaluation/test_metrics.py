import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mirl.evaluation.metrics import (
    GAUSSIAN_11,
    PSNR_CEILING_DB,
    UNIFORM_7,
    Window,
    luma,
    measure,
    psnr_db,
    ssim,
)

SETTINGS = {
    "uniform": (UNIFORM_7, {}),
    "gaussian": (GAUSSIAN_11, {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}),
}


def pair(height: int = 45, width: int = 61, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    y, x = np.mgrid[0:height, 0:width] / 40
    clean = np.stack([0.5 + 0.4 * np.sin(5 * x + 3 * y + shift) for shift in (0, 1, 2)], axis=2)
    noisy = np.clip(clean + noise * generator.standard_normal(clean.shape), 0, 1)
    return noisy.astype(np.float32), clean.astype(np.float32)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("noise", [0.002, 0.1, 0.4])
def test_ssim_is_that_of_scikit_image(setting: str, noise: float) -> None:
    window, options = SETTINGS[setting]
    noisy, clean = (image.astype(np.float64) for image in pair(noise=noise))
    expected = structural_similarity(clean, noisy, data_range=1, channel_axis=2, **options)
    assert ssim(noisy, clean, window) == pytest.approx(expected, abs=3e-6)


def test_ssim_of_flat_bright_pictures_keeps_its_digits() -> None:
    clean = np.full((32, 32, 3), 0.98, np.float32)
    noisy = clean - np.random.default_rng(0).random(clean.shape, np.float32) * np.float32(0.01)
    expected = structural_similarity(clean.astype(float), noisy.astype(float), data_range=1, channel_axis=2)
    assert ssim(noisy, clean, UNIFORM_7) == pytest.approx(expected, abs=1e-4)


def test_psnr_is_that_of_scikit_image() -> None:
    noisy, clean = pair()
    expected = peak_signal_noise_ratio(clean.astype(float), noisy.astype(float), data_range=1)
    assert psnr_db(noisy, clean) == pytest.approx(expected, abs=1e-9)


def test_luma_is_that_of_matlab() -> None:
    noisy, _ = pair()
    expected = rgb2ycbcr(noisy.astype(np.float64))[..., 0] / 255
    np.testing.assert_allclose(luma(torch.from_numpy(noisy)).numpy(), expected, atol=1e-6)
    ends = luma(torch.tensor([[[0.0, 0, 0], [1, 1, 1]]])) * 255
    torch.testing.assert_close(ends, torch.tensor([[16.0, 235.0]]))


@pytest.mark.parametrize("window", [UNIFORM_7, GAUSSIAN_11])
def test_measure_does_everything_at_once(window: Window) -> None:
    noisy, clean = pair()
    noisy_y, clean_y = (luma(torch.from_numpy(image)).numpy() for image in (noisy, clean))
    found = measure(noisy, clean, window)
    assert found.psnr_db == pytest.approx(psnr_db(noisy, clean), abs=1e-5)
    assert found.ssim == pytest.approx(ssim(noisy, clean, window), abs=1e-6)
    assert found.psnr_y_db == pytest.approx(psnr_db(noisy_y, clean_y), abs=1e-5)
    assert found.ssim_y == pytest.approx(ssim(noisy_y, clean_y, window), abs=1e-6)


def test_identical_pictures_score_the_ceiling() -> None:
    _, clean = pair()
    found = measure(clean, clean, UNIFORM_7)
    assert (found.psnr_db, found.psnr_y_db) == (PSNR_CEILING_DB, PSNR_CEILING_DB)
    assert found.ssim == pytest.approx(1) and found.ssim_y == pytest.approx(1)


def test_read_only_pixels_are_measured_in_silence(recwarn: pytest.WarningsRecorder) -> None:
    noisy, clean = pair()
    clean.setflags(write=False)
    measure(noisy, clean, UNIFORM_7)
    assert not recwarn.list


def test_a_picture_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 7x7"):
        ssim(np.zeros((6, 9, 3)), np.zeros((6, 9, 3)), UNIFORM_7)
