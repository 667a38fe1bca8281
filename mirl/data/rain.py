"""Synthetic rain of several kinds: the streaks that a camera records of drops moving during the exposure.

A streak is a spindle: bright in the middle, tapering to both ends, Gaussian across (on the look of drops in
motion: Garg and Nayar, "Vision and Rain", IJCV 2007). A layer is a set of streaks of nearly one direction,
partly in clumps. A rain is one to three layers, added as in the linear model O = B + R (Yang et al., CVPR
2017) or screened, O = 1 - (1 - B)(1 - R), under an optional veil.

The kinds and their ranges are ours. "dense" and "heavy" were set beside the training pictures of Rain800 and
RainTrainH; "light" and "threads" so that input PSNR, coverage, brightness and autocorrelation span what the
inputs of Rain100L have in all (summary figures; no picture of that test set is trained on).

Legend: H height, W width, N streaks, L samples along a streak, K pixels across it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class RainKind:
    """Ranges from which one rain is drawn, uniformly unless stated otherwise."""

    weight: float
    """Relative frequency of this kind."""
    layers: tuple[int, ...]
    """Possible numbers of layers; each entry is equally likely."""
    slant: Range
    """Angle to the vertical in degrees; the side is drawn at random."""
    spread: float
    """Standard deviation of the direction between layers, degrees."""
    coverage: Range
    """Area of the streaks of all layers divided by the area of the picture; drawn log-uniformly."""
    length: Range
    """Length of a streak in pixels; drawn log-uniformly."""
    width: Range
    """Standard deviation across the streak in pixels; drawn log-uniformly."""
    brightness: Range
    """Mean peak brightness of the streaks as a fraction of full scale; drawn log-uniformly."""
    clumps: Range = (0.0, 0.6)
    """Share of the streaks that fall beside another one."""
    screen: float = 0.2
    """Probability of screening instead of adding."""
    veil: float = 0.0
    """Probability of a thin uniform veil (rain too far to see as streaks)."""


KINDS: dict[str, RainKind] = {
    "light": RainKind(
        weight=5, layers=(1, 1, 2), slant=(0, 32), spread=3, coverage=(0.06, 0.32),
        length=(12, 75), width=(0.38, 0.9), brightness=(0.06, 0.36),
    ),
    "rods": RainKind(
        weight=1.5, layers=(1, 1, 2), slant=(0, 40), spread=4, coverage=(0.05, 0.2),
        length=(9, 40), width=(0.5, 1.3), brightness=(0.15, 0.6),
    ),
    "threads": RainKind(
        weight=2, layers=(1, 1, 2), slant=(0, 20), spread=2, coverage=(0.08, 0.4),
        length=(40, 160), width=(0.4, 0.9), brightness=(0.06, 0.34),
    ),
    "dense": RainKind(
        weight=1, layers=(1, 2), slant=(0, 50), spread=6, coverage=(0.5, 1.3),
        length=(10, 40), width=(0.42, 0.8), brightness=(0.05, 0.25), screen=0.6, veil=0.4,
    ),
    "heavy": RainKind(
        weight=1, layers=(2, 3), slant=(0, 30), spread=8, coverage=(0.4, 1.2),
        length=(20, 90), width=(0.5, 1.2), brightness=(0.1, 0.42), screen=0.1, veil=0.3,
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rain:
    """Degradation that adds rain of one of the given kinds, drawn anew at every call."""

    kinds: tuple[str, ...] = tuple(KINDS)
    amount: float = 1.0
    """Factor on the coverage of each kind."""

    def __call__(
        self, clean_HWC: np.ndarray, rng: np.random.Generator, depth_HW: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the rainy picture, float32, clipped to [0, 1] like files of the data sets; `depth_HW` is unused."""
        kind = _draw_kind(self.kinds, rng)
        few, many = kind.coverage
        as_much = replace(kind, coverage=(few * self.amount, many * self.amount))
        streaks_HW1 = streaks(clean_HWC.shape[:2], as_much, rng)[..., None]
        veil = rng.uniform(0.02, 0.12) if rng.random() < kind.veil else 0.0
        veiled_HWC = clean_HWC * np.float32(1 - veil) + np.float32(0.85 * veil) if veil else clean_HWC
        if rng.random() < kind.screen:
            rainy_HWC = veiled_HWC + np.minimum(streaks_HW1, 1) * (1 - veiled_HWC)
        else:
            rainy_HWC = veiled_HWC + streaks_HW1
        clipped_HWC: np.ndarray = np.clip(rainy_HWC, 0, 1, dtype=np.float32)
        return clipped_HWC


def streaks(size: tuple[int, int], kind: RainKind, rng: np.random.Generator) -> np.ndarray:
    """Return the light that rain of this kind adds: float32 H x W, 0 where no streak falls, without an upper bound."""
    layers = int(rng.choice(kind.layers))
    slant = rng.uniform(*kind.slant) * rng.choice((-1, 1))
    coverage = _log_uniform(kind.coverage, rng) / layers
    clumps = rng.uniform(*kind.clumps)
    rain_HW = np.zeros(size, np.float32)
    for _ in range(layers):
        shape = _Shape(
            slant=np.deg2rad(np.clip(slant + rng.normal(0, kind.spread), -60, 60)),
            length=_log_uniform(kind.length, rng),
            width=_log_uniform(kind.width, rng),
            brightness=_log_uniform(kind.brightness, rng),
        )
        rain_HW += _layer(size, shape, coverage, clumps, rng)
    return rain_HW


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """Typical streak of a layer: slant in radians, length and width in pixels, brightness as a share of full scale."""

    slant: float
    length: float
    width: float
    brightness: float


def _layer(
    size: tuple[int, int], shape: _Shape, coverage: float, clumps: float, rng: np.random.Generator
) -> np.ndarray:
    margin = shape.length  # streaks whose middle is outside still reach in
    height, width = size[0] + 2 * margin, size[1] + 2 * margin
    # A streak looks about 3 sigma wide and two thirds of its length long: its ends fade.
    expected = coverage * height * width / (3 * shape.width * 0.67 * shape.length)
    count = max(int(rng.poisson(expected)), 1)
    y_N = rng.random(count, np.float32) * np.float32(height) - np.float32(margin)
    x_N = rng.random(count, np.float32) * np.float32(width) - np.float32(margin)
    followers = int(clumps * count)
    if followers:
        leaders = rng.integers(followers, count, followers) if followers < count else np.zeros(followers, int)
        y_N[:followers] = y_N[leaders] + rng.normal(0, 0.4 * shape.length, followers)
        x_N[:followers] = x_N[leaders] + rng.normal(0, 3 * shape.width + 1, followers)
    inside = (y_N > -margin) & (y_N < size[0] + margin)
    y_N, x_N = y_N[inside], x_N[inside]
    count = len(y_N)
    near_N = rng.normal(0, 0.25, count)  # a nearer drop is longer, wider and brighter
    length_N = shape.length * np.exp(near_N + rng.normal(0, 0.35, count))
    width_N = shape.width * np.exp(near_N + rng.normal(0, 0.15, count))
    peak_N = shape.brightness * np.exp(near_N) * rng.gamma(3, 1 / 3, count)  # many faint, a few bright
    slant_N = shape.slant + rng.normal(0, 0.015, count)
    return _splat(size, (y_N, x_N, length_N, width_N, peak_N, slant_N))


_AT_ONCE = 2_000
"""Number of streaks drawn at once, so that a large picture does not need gigabytes."""


def _splat(size: tuple[int, int], streaks_N: Sequence[np.ndarray]) -> np.ndarray:
    """Draw the streaks row by row, in each row a Gaussian around the place where the streak crosses the row."""
    flat = np.zeros(size[0] * size[1])
    columns_N = [np.asarray(values, np.float32) for values in streaks_N]
    for start in range(0, len(columns_N[0]), _AT_ONCE):
        index, light = _pixels(size, [values[start : start + _AT_ONCE] for values in columns_N])
        flat += np.bincount(index, light, flat.size)
    return flat.reshape(size).astype(np.float32)


def _pixels(size: tuple[int, int], streaks_N: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat indices of the pixels that the streaks touch, and the light that each touch adds."""
    y_N, x_N, length_N, width_N, peak_N, slant_N = streaks_N
    rise_N = length_N * np.cos(slant_N) / 2  # half the rows that a streak crosses
    across_N = width_N / np.cos(slant_N)
    row_NL = np.ceil(y_N - rise_N)[:, None] + np.arange(int(2 * rise_N.max()) + 1, dtype=np.float32)
    along_NL = (row_NL - y_N[:, None]) / rise_N[:, None]  # -1 at one end, 1 at the other
    seen = (np.abs(along_NL) < 1) & (row_NL >= 0) & (row_NL < size[0])
    streak, _ = np.nonzero(seen)
    row, along = row_NL[seen], along_NL[seen]
    middle = x_N[streak] + (row - y_N[streak]) * np.tan(slant_N)[streak]
    reach = int(np.ceil(2.5 * across_N.max()))
    column_PK = np.floor(middle)[:, None] + np.arange(-reach, reach + 1, dtype=np.float32)
    off_PK = (column_PK - middle[:, None]) / across_N[streak][:, None]
    light_PK = (peak_N[streak] * (1 - along**2))[:, None] * np.exp(-0.5 * off_PK**2)
    within = (column_PK >= 0) & (column_PK < size[1]) & (np.abs(off_PK) < 2.5)
    index_PK = row[:, None].astype(np.int64) * size[1] + column_PK.astype(np.int64)
    return index_PK[within], light_PK[within]


def _draw_kind(names: Sequence[str], rng: np.random.Generator) -> RainKind:
    weights = np.array([KINDS[name].weight for name in names])
    return KINDS[names[int(rng.choice(len(names), p=weights / weights.sum()))]]


def _log_uniform(limits: Range, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]))))
