"""Published protocols by name: how an image becomes a network's input, and how the output is measured.

Legend: H height, W width, C colour channels (R, G, B).
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from mirl.config import UserError
from mirl.data.tasks import Task
from mirl.data.usable import SMALLEST
from mirl.evaluation.metrics import GAUSSIAN_11, UNIFORM_7, Quality, Window, measure


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Published way to measure, always named beside its numbers."""

    name: str
    multiple: int
    """Degraded images are centre-cropped to multiples of this, and the clean ones alike; 1 = whole images."""
    noise_8bit: bool
    """True: clip(clean + sigma n, 0, 255), truncated to uint8. False: float noise, not clipped or rounded."""
    output_8bit: bool
    """True: outputs are rounded to uint8, as a saved file would be. False: floats, clipped to [0, 1]."""
    window: Window
    luma: bool = False
    """True: `psnr_db` and `ssim` are those of Y, which then decides. False: they are those of RGB."""
    border: bool = False
    """True: as many pixels as the task enlarges by are left out at every border. False: all pixels are measured."""

    def crop(self, image_HWC: np.ndarray, scale: int = 1) -> np.ndarray:
        """Return the centre of an image that is `scale` times as large as the degraded one (a view)."""
        sides = [side // scale for side in image_HWC.shape[:2]]
        top, left = (side % self.multiple // 2 * scale for side in sides)
        height, width = ((side - side % self.multiple) * scale for side in sides)
        return image_HWC[top : top + height, left : left + width]

    def add_noise(
        self, clean_HWC: np.ndarray, sigma_255: float, generator: np.random.Generator
    ) -> np.ndarray:
        """Add Gaussian noise to uint8 `clean_HWC`; return float32 on the scale [0, 1]."""
        noisy = clean_HWC + sigma_255 * generator.standard_normal(clean_HWC.shape)
        if self.noise_8bit:
            noisy = np.clip(noisy, 0, 255).astype(np.uint8)
        return (noisy / 255).astype(np.float32)

    def finish(self, output_HWC: np.ndarray) -> np.ndarray:
        """Clip a float picture to [0, 1] for measuring, and round it to 8 bits if the protocol says so."""
        clipped: np.ndarray = np.clip(output_HWC, 0, 1)
        return np.rint(clipped * 255) / np.float32(255) if self.output_8bit else clipped

    def measure(self, output_HWC: np.ndarray, clean_HWC: np.ndarray, scale: int = 1) -> Quality:
        """Measure the quality of a picture that `finish` returned, of a task that enlarges by `scale`."""
        inside = slice(scale, -scale) if self.border else slice(None)
        found = measure(output_HWC[inside, inside], clean_HWC[inside, inside], self.window)
        return replace(found, psnr_db=found.psnr_y_db, ssim=found.ssim_y) if self.luma else found


PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol(name="paper", multiple=16, noise_8bit=True, output_8bit=False, window=UNIFORM_7),
    "strict": Protocol(name="strict", multiple=1, noise_8bit=False, output_8bit=True, window=GAUSSIAN_11),
    "sr": Protocol(
        name="sr", multiple=1, noise_8bit=False, output_8bit=True, window=GAUSSIAN_11, luma=True, border=True
    ),
}


def noise_generator(image: str, task: str) -> np.random.Generator:
    """Return the generator of an image's noise, seeded by image and task, so no order or worker count matters."""
    digest = hashlib.sha256(f"{image}\n{task}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4"))


def prepare(
    protocol: Protocol, image: str, task: Task, clean_HWC: np.ndarray, degraded_HWC: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return (input, clean) of one test image as float32 HWC; inputs of `strict` denoising leave [0, 1].

    Both images are uint8, the clean one `task.scale` times as large; `degraded_HWC` is None for a task without pairs: the
    protocol adds its noise. Raises UserError if the image is too small, its pair has another size, or a task that needs a
    pair has none.
    """
    height, width = (side // task.scale for side in clean_HWC.shape[:2])
    if min(height, width) < SMALLEST:
        got, expected = f"{width}x{height}", f"at least {SMALLEST}x{SMALLEST}"
        raise UserError(
            f"test image {image} is {got}, expected {expected} pixels; leave it out of the test set"
        )
    clean = protocol.crop(clean_HWC, task.scale)
    if degraded_HWC is None:
        if task.paired:
            raise UserError(f"test image {image} has no degraded partner; {task.name} needs one")
        degraded = protocol.add_noise(clean, task.noise_sigma_255, noise_generator(image, task.name))
    elif clean_HWC.shape[:2] != tuple(side * task.scale for side in degraded_HWC.shape[:2]):
        got, clean_is = (f"{shape[1]}x{shape[0]}" for shape in (degraded_HWC.shape, clean_HWC.shape))
        expected = "one size" if task.scale == 1 else f"a target of {task.scale} times the size"
        raise UserError(
            f"test pair {image} has an input of {got} and a target of {clean_is}; expected {expected}"
        )
    else:
        degraded = protocol.crop(degraded_HWC) / np.float32(255)
    return degraded, clean / np.float32(255)
