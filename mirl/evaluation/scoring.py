"""Scoring of a restorer on test images: one row for each image, task and protocol.

Legend: B batch (1), H height, W width, C colour channels (R, G, B).
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import Field, field_validator
from torch import Tensor

from mirl.config import Section
from mirl.data.tasks import Task
from mirl.evaluation.protocols import PROTOCOLS, Protocol, prepare

Restore = Callable[[Tensor, str], Tensor]
"""Takes float BCHW in about [0, 1], of any height and width, and the restoration task, which a blind restorer
ignores; returns the same shape, or an enlarged one if the task enlarges. The restorer pads and picks its device itself."""

Progress = Callable[[int, int], None]
"""Callback that takes (rows done, rows in all)."""

METRICS = ("psnr_db", "ssim", "psnr_y_db", "ssim_y", "input_psnr_db", "input_ssim")


class EvaluateSection(Section):
    """Settings of the evaluation: the protocols, and the numbers of test images and pictures."""

    protocols: list[str] = Field(default=["paper"], min_length=1)
    """Names in PROTOCOLS; the first is the one that decides."""
    limit: int | None = Field(default=None, ge=1)
    """Number of test images of each task, the first by name; None for all."""
    pictures: int = Field(default=2, ge=0)
    """Number of before/after pictures of each task, for the report."""
    picture_size: int = Field(default=320, ge=32)
    """Longest side of those pictures in pixels; larger ones are centre-cropped."""

    @field_validator("protocols")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in PROTOCOLS:
                raise ValueError(f"{name} is not a protocol; known ones: {', '.join(PROTOCOLS)}")
        if len(set(names)) != len(names):
            raise ValueError("a protocol is named twice; leave one out")
        return names


@dataclass(frozen=True, kw_only=True)
class TestImage:
    """One test image of one task; views of memory-mapped pixels are welcome, as nothing is written."""

    __test__ = False  # no test class, whatever pytest thinks of the name

    image: str
    task: Task
    clean_HWC: np.ndarray
    """uint8 RGB."""
    degraded_HWC: np.ndarray | None
    """uint8 RGB, smaller by the task's scale; None for a task without pairs, where the protocol adds the noise."""


class ExamplePicture(NamedTuple):
    """A restored test image to look at: uint8 RGB crops of one place, the input enlarged if the task enlarges."""

    image: str
    task: str
    input_HWC: np.ndarray
    output_HWC: np.ndarray
    clean_HWC: np.ndarray


def silent(done: int, total: int) -> None:
    """Show no progress."""


def score(
    restore: Restore, items: Iterable[TestImage], section: EvaluateSection, progress: Progress = silent
) -> pd.DataFrame:
    """Return the long table of everything that `section` asks for, ordered by protocol, task and image.

    Columns: image, task, protocol, those of METRICS, change, seconds. `change` is rms(output - input) /
    rms(clean - input): 0 if the restorer does nothing. `seconds` is inference alone. The input, enlarged by
    bicubic if the task enlarges, is measured as the output is (clipped, and rounded if the protocol does so),
    so a restorer that does nothing gains 0.
    Output values that are not finite count as 0.
    """
    chosen = limited(items, section.limit)
    work = [(PROTOCOLS[name], item) for name in section.protocols for item in chosen]
    rows = []
    with torch.inference_mode():
        for done, (protocol, item) in enumerate(work, start=1):
            rows.append(_row(restore, protocol, item))
            progress(done, len(work))
    columns = ["image", "task", "protocol", *METRICS, "change", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def pictures(restore: Restore, items: Iterable[TestImage], section: EvaluateSection) -> list[ExamplePicture]:
    """Restore the first `section.pictures` images of each task under the first protocol and crop them for viewing."""
    protocol = PROTOCOLS[section.protocols[0]]
    found = []
    with torch.inference_mode():
        for item in limited(items, section.pictures):
            degraded, clean = prepare(protocol, item.image, item.task, item.clean_HWC, item.degraded_HWC)
            trio = (item.task.nothing(degraded), restored(restore, degraded, item.task), clean)
            found.append(
                ExamplePicture(
                    item.image,
                    item.task.name,
                    *(to_uint8(_centre(image, section.picture_size)) for image in trio),
                )
            )
    return found


def summary(frame: pd.DataFrame, protocol: str) -> dict[str, float]:
    """Return `psnr_db/mean`, `psnr_db/<task>` and so on for every metric; the mean is that of the tasks' means."""
    by_task = frame[frame["protocol"] == protocol].groupby("task")[list(METRICS)].mean()
    found = {}
    for metric in METRICS:
        found[f"{metric}/mean"] = float(by_task[metric].mean())
        found |= {f"{metric}/{task}": float(value) for task, value in by_task[metric].items()}
    return found


def _row(restore: Restore, protocol: Protocol, item: TestImage) -> dict[str, object]:
    degraded, clean = prepare(protocol, item.image, item.task, item.clean_HWC, item.degraded_HWC)
    start = time.perf_counter()
    output = restored(restore, degraded, item.task)
    seconds = time.perf_counter() - start
    nothing, scale = item.task.nothing(degraded), item.task.scale
    measured = protocol.measure(protocol.finish(output), clean, scale)
    before = protocol.measure(protocol.finish(nothing), clean, scale)
    return {
        "image": item.image,
        "task": item.task.name,
        "protocol": protocol.name,
        **vars(measured),
        "input_psnr_db": before.psnr_db,
        "input_ssim": before.ssim,
        "change": _rms(output - nothing) / max(_rms(clean - nothing), 1e-12),
        "seconds": seconds,
    }


def restored(restore: Restore, degraded_HWC: np.ndarray, task: Task) -> np.ndarray:
    """Restore one float32 HWC image, larger by the task's scale; values that are not finite become 0."""
    degraded_BCHW = torch.from_numpy(degraded_HWC).permute(2, 0, 1)[None]
    output_BCHW = restore(degraded_BCHW, task.name)
    expected = (1, 3, *(side * task.scale for side in degraded_BCHW.shape[2:]))
    if output_BCHW.shape != expected:
        raise ValueError(
            f"restorer made {tuple(output_BCHW.shape)} of {tuple(degraded_BCHW.shape)}, expected {expected}"
        )
    output_HWC: np.ndarray = output_BCHW[0].permute(1, 2, 0).float().cpu().contiguous().numpy()
    finite_HWC: np.ndarray = np.nan_to_num(output_HWC, nan=0.0, posinf=0.0, neginf=0.0)
    return finite_HWC


def limited(items: Iterable[TestImage], limit: int | None) -> list[TestImage]:
    """Sort the items by task and name, and return the first `limit` of each task."""
    taken: dict[str, int] = {}
    first = []
    for item in sorted(items, key=lambda item: (item.task.name, item.image)):
        taken[item.task.name] = taken.get(item.task.name, 0) + 1
        if limit is None or taken[item.task.name] <= limit:
            first.append(item)
    return first


def _rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference, dtype=np.float64))))


def _centre(image_HWC: np.ndarray, size: int) -> np.ndarray:
    top, left = (max(side - size, 0) // 2 for side in image_HWC.shape[:2])
    return image_HWC[top : top + size, left : left + size]


def to_uint8(image_HWC: np.ndarray) -> np.ndarray:
    """Clip a float picture to [0, 1] and round it to 8 bits."""
    pixels_HWC: np.ndarray = np.rint(np.clip(image_HWC, 0, 1) * 255).astype(np.uint8)
    return pixels_HWC
