"""Search for photographs that are in both training and test, also if encoded anew, cropped a little or resized.

The search has two steps: a 16 x 16 grey thumbnail of each picture names the candidates, then the pictures themselves
are compared at 96 x 96 in colour. The method is ours. On the benchmark pack the same photographs have a distance of 0
in both steps; the nearest different ones are 12.5 and 26 grey levels apart (tests/data/test_check.py checks this
again).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

_SIDE, _CLOSE_SIDE = 16, 96
_CANDIDATE_RMS, _SAME_RMS = 8.0, 8.0
"""Distances in grey levels of 255: thumbnails that are nearer are candidates; pictures that are nearer are the same."""


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
    difference = _small(one, _CLOSE_SIDE, "RGB") - _small(other, _CLOSE_SIDE, "RGB")
    return float(np.sqrt(np.mean(difference**2))) < _SAME_RMS


def _small(pixels: np.ndarray, side: int, mode: str) -> np.ndarray:
    small = Image.fromarray(pixels).convert(mode).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.float32)
