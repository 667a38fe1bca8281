"""Denoising: white Gaussian noise of one strength, added whenever a clean picture is used."""

from functools import partial
from typing import Literal

from pydantic import Field

from mirl.data.degradations import Noise
from mirl.data.tasks.task import KindSection, Severity, Task


class DenoiseSection(KindSection):
    """Options of denoising: `{kind: denoise, sigma: 25}`."""

    kind: Literal["denoise"]
    sigma: float = Field(gt=0, le=255)
    """Standard deviation of the noise on the scale of 0 to 255."""

    def task(self, name: str) -> Task:
        """Return the task, which has no pairs: training adds float noise, evaluation the noise of its protocol."""
        return Task(
            name=name,
            training=Noise(sigma_255=self.sigma),
            paired=False,
            noise_sigma_255=self.sigma,
            severities=(
                Severity(
                    name="sigma_255",
                    unit="grey levels of 255",
                    low=5,
                    high=100,
                    at=partial(_at_sigma, name),
                    trained=(self.sigma, self.sigma),
                ),
            ),
        )


def _at_sigma(name: str, sigma_255: float) -> Task:
    return DenoiseSection(kind="denoise", sigma=sigma_255).task(name)
