"""Routing by difficulty beside its bounds: levels of patches that chance, the gradient or the known errors hand out.

Dims: H height, W width, C colour channels; R rows and Q columns of patches of side p; N patches of all test images,
K sub-networks from the least work to the most.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from mirl.evaluation.metrics import PSNR_CEILING_DB
from mirl.tickets.calibration import cheapest_good, price_of

STATIC, ROUTER = "static", "router"
"""Ways of restoring: one sub-network for the whole image; the ticket's router for each patch."""
WAY = ["ticket", "way", "budget"]
"""Columns that tell ways of restoring apart."""
PATCHES = "patches/"
"""Beginning of the columns with the share of an image's patches that each sub-network restores."""
COLUMNS = [
    "ticket",
    "sha256",
    "way",
    "budget",
    "image",
    "task",
    "protocol",
    "psnr_db",
    "ssim",
    "work",
    "seconds",
]
"""Columns of the table, which has a row for each ticket, way, budget and image; those of PATCHES come after them.

`budget` is the share of the work of the ticket's largest sub-network that is asked for, `work` the share of the *dense*
network's that is done, `seconds` restoring alone.
"""
MEAN = "mean"
"""Stands for all tasks: the mean of the tasks' means."""


class Key(NamedTuple):
    """One restored image."""

    ticket: str
    way: str
    budget: float
    task: str
    image: str


class Grid(NamedTuple):
    """The sub-network of each patch of an image."""

    level_RQ: np.ndarray
    """Its number, from 0 for the least work, int64."""
    side: int
    """Of a patch, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The input of a test image, to look at."""

    image: str
    task: str
    input_HWC: np.ndarray
    """uint8 RGB."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the bounds know of the patches of all test images."""

    work_K: np.ndarray
    """Share of the largest sub-network's work, rising."""
    gradient_N: np.ndarray
    """Standard deviation of the gradient in the damaged image."""
    psnr_NK: np.ndarray
    """PSNR in dB by each sub-network alone on the whole image."""


Bound = Callable[[Observed, np.ndarray, np.random.Generator], np.ndarray]
"""(patches, their levels by the router, generator) -> other levels for the same work, int64 (N,)."""


def oracle(observed: Observed, level_N: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the levels of the best mean PSNR for the mean work of `level_N`, known from the errors.

    The work may be more by one step of one price, and less if it does harm: no price is below 0. The shares of the levels
    are its own.
    """
    work = observed.work_K[level_N].mean()
    price = max(0.0, price_of(work, observed.psnr_NK, observed.work_K))
    return cheapest_good(observed.psnr_NK, observed.work_K, price)


def gradient(observed: Observed, level_N: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return as many patches of each level, those of the least gradient at the least work (WBSR, NeurIPS 2024)."""
    found_N = np.empty_like(level_N)
    found_N[observed.gradient_N.argsort(kind="stable")] = np.sort(level_N)
    return found_N


def random(observed: Observed, level_N: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return as many patches of each level, drawn by chance."""
    return generator.permutation(level_N)


BOUNDS: Mapping[str, Bound] = {"oracle": oracle, "gradient": gradient, "random": random}
"""Way of restoring -> the levels that it takes where the router takes others."""


def psnr_of_patches(image_HWC: np.ndarray, clean_HWC: np.ndarray, side: int) -> np.ndarray:
    """Compute the PSNR of each patch in dB, (R, Q), over its pixels in the image; at most `PSNR_CEILING_DB`."""
    squares_HW = np.square(image_HWC - clean_HWC, dtype=np.float64).mean(2)
    error_RQ = np.nanmean(_patches(squares_HW, side), axis=(2, 3))
    psnr_RQ: np.ndarray = -10 * np.log10(np.maximum(error_RQ, 10 ** (-PSNR_CEILING_DB / 10)))
    return psnr_RQ


def gradient_of_patches(image_HWC: np.ndarray, side: int) -> np.ndarray:
    """Compute the standard deviation of the grey image's gradient in each patch, (R, Q), over its pixels in the image."""
    down_HW, right_HW = np.gradient(image_HWC.mean(2, dtype=np.float64))
    spread_RQ: np.ndarray = np.nanstd(_patches(np.hypot(down_HW, right_HW), side), axis=(2, 3))
    return spread_RQ


def shares(level_RQ: np.ndarray, levels: Sequence[str]) -> dict[str, float]:
    """Return the share of the patches of each of `levels`, which are named from the least work to the most."""
    share_K = np.bincount(level_RQ.ravel(), minlength=len(levels)) / level_RQ.size
    return {PATCHES + name: float(share) for name, share in zip(levels, share_K)}


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each ticket, way, budget and task, and one for the MEAN of the tasks, in the order of the table.

    `psnr_db`, `ssim`, `work` and the shares of PATCHES are means over images, `seconds` and `time` medians. `time` is the
    share of the seconds that the largest sub-network of the first ticket with a router takes alone for the same image.
    """
    first = frame.loc[frame["way"] == ROUTER, "ticket"].iloc[0]
    largest = frame[(frame["ticket"] == first) & (frame["way"] == STATIC) & (frame["budget"] == 1)]
    alone = largest.set_index(["task", "image"])["seconds"].rename("alone")
    time = frame["seconds"] / frame.join(alone, on=["task", "image"])["alone"]
    means = ["psnr_db", "ssim", "work", *(name for name in frame if str(name).startswith(PATCHES))]
    how = dict.fromkeys(means, "mean") | {"seconds": "median", "time": "median"}
    found = frame.assign(time=time).groupby([*WAY, "task"], sort=False).agg(how).reset_index()
    mean = found.groupby(WAY, sort=False)[list(how)].mean().reset_index().assign(task=MEAN)
    return pd.concat([mean, found], ignore_index=True)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each ticket, way and budget: mean PSNR over the tasks, that of each task, work and time.

    A sub-network alone has its name beside its way.
    """
    found = points(frame)
    wide = found.pivot_table("psnr_db", WAY, "task", sort=False)
    mean = found[found["task"] == MEAN].set_index(WAY)[["work", "seconds", "time"]]
    wide = mean.index.to_frame(index=False).join(wide, on=WAY).join(mean, on=WAY)  # the order of the table
    for ticket in wide["ticket"].unique():
        alone = (wide["ticket"] == ticket) & (wide["way"] == STATIC)
        if names := levels_of(frame, ticket):
            rising = wide[alone].sort_values("budget").index
            wide.loc[rising, "way"] = [f"{STATIC} {name}" for name in names]
    return wide


def levels_of(frame: pd.DataFrame, ticket: str) -> list[str]:
    """Return the names of a ticket's sub-networks, from the least work to the most; empty if it has no router."""
    alone = frame[(frame["ticket"] == ticket) & (frame["way"] == STATIC)].sort_values("budget", kind="stable")
    names = [name for name in map(str, frame) if name.startswith(PATCHES)]
    found = [
        name.removeprefix(PATCHES)
        for row in alone[names].to_numpy()
        for name, share in zip(names, row)
        if share == 1
    ]
    return list(dict.fromkeys(found))


def _patches(values_HW: np.ndarray, side: int) -> np.ndarray:
    """Cut values into patches, (R, Q, p, p); beyond the image they are NaN."""
    missing = [(0, -length % side) for length in values_HW.shape]
    padded_HW = np.pad(values_HW, missing, constant_values=np.nan)
    rows, columns = (length // side for length in padded_HW.shape)
    return padded_HW.reshape(rows, side, columns, side).swapaxes(1, 2)
