"""Search for photographs that are in both training and test, also if encoded anew, cropped a little or resized.

The search has two steps: a 16 x 16 grey thumbnail of each picture names the candidates, then the pictures themselves
are compared at 96 x 96 in colour, also with up to 1.2 % cut off at each border of either. The method is ours. On the
benchmark pack the same photographs have a distance of 0 in both steps, but for "woman" of Set5, which was cut and resized:
8.9 and, cut alike, 5. The nearest different ones are 12.5 and 26 grey levels apart (tests/data/test_check.py checks this
again).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

_SIDE, _CLOSE_SIDE = 16, 96
_CANDIDATE_RMS, _SAME_RMS = 10.0, 8.0
"""Distances in grey levels of 255: thumbnails that are nearer are candidates; pictures that are nearer are the same."""
_CUTS = (0.0, 0.006, 0.0125)
"""Shares of a side that are cut off at a border."""


@dataclass(frozen=True, kw_only=True)
class Leak:
    """One photograph that stands in both training and test."""

    train: str
    test: str


@dataclass(frozen=True, kw_only=True)
class _Seen:
    where: str
    read: Callable[[], np.ndarray]


class HeldOut:
    """Clean pictures of the test split, to find which of them a training picture shows."""

    def __init__(self) -> None:
        self._seen: list[_Seen] = []
        self._thumbnails: list[np.ndarray] = []

    def add(self, where: str, pixels: np.ndarray, read: Callable[[], np.ndarray]) -> None:
        """Add a test picture, uint8 H x W x 3; `read` returns the same picture when a close comparison needs it."""
        self._seen.append(_Seen(where=where, read=read))
        self._thumbnails.append(_small(pixels, _SIDE, "L"))

    def shown_by(self, where: str, pixels: np.ndarray) -> list[Leak]:
        """Return one leak for each test picture that is the same photograph as this training picture."""
        if not self._seen:
            return []
        difference = np.stack(self._thumbnails) - _small(pixels, _SIDE, "L")
        distance = np.sqrt(np.mean(difference**2, axis=(1, 2)))
        return [
            Leak(train=where, test=self._seen[place].where)
            for place in np.flatnonzero(distance < _CANDIDATE_RMS)
            if _same(self._seen[place].read(), pixels)
        ]


def in_words(leaks: Sequence[Leak]) -> str:
    """Return a sentence with the number of training pictures that leak and the names of the first three."""
    first: dict[str, str] = {}
    for leak in leaks:
        first.setdefault(leak.train, leak.test)
    named = "; ".join(f"{train} is {test}" for train, test in list(first.items())[:3])
    many = "picture of train stands" if len(first) == 1 else "pictures of train stand"
    return f"{len(first)} {many} in test too: {named}{'; …' if len(first) > 3 else ''}"


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return _shows(one, other) or _shows(other, one)


def _shows(larger: np.ndarray, other: np.ndarray) -> bool:
    """Return whether `larger` shows the same as `other` and at most a little more at its borders."""
    wanted = _small(other, _CLOSE_SIDE, "RGB")
    return any(
        float(np.sqrt(np.mean((_small(larger, _CLOSE_SIDE, "RGB", cuts) - wanted) ** 2))) < _SAME_RMS
        for cuts in product(_CUTS, repeat=4)
    )


def _small(
    pixels: np.ndarray, side: int, mode: str, cuts: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
) -> np.ndarray:
    """Return a small picture of what is left without these shares at the top, left, bottom and right."""
    height, width = pixels.shape[:2]
    top, left, bottom, right = cuts
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    small = Image.fromarray(pixels).convert(mode).resize((side, side), Image.Resampling.BOX, box)
    return np.asarray(small, np.float32)
