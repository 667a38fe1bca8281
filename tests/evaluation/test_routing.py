"""Bounds of routing by difficulty, and the table and page that show them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirl.evaluation.routing import (
    BOUNDS,
    COLUMNS,
    ROUTER,
    STATIC,
    Grid,
    Key,
    Observed,
    Picture,
    gradient_of_patches,
    levels_of,
    points,
    psnr_of_patches,
    shares,
    summary,
)
from mirl.evaluation.routing_page import SHOWN, page

WORK_K = np.array([0.25, 0.5, 1.0])


def bound(name: str, observed: Observed, level_N: list[int]) -> list[int]:
    found: list[int] = BOUNDS[name](observed, np.array(level_N), np.random.default_rng(0)).tolist()
    return found


def observed(psnr_NK: object, gradient_N: object = ()) -> Observed:
    return Observed(work_K=WORK_K, gradient_N=np.array(gradient_N), psnr_NK=np.array(psnr_NK))


def test_the_error_of_a_patch_is_that_of_its_pixels_in_the_image() -> None:
    clean_HWC = np.zeros((3, 5, 3), np.float32)
    image_HWC = clean_HWC.copy()
    image_HWC[0, 0] = 0.2  # one of four pixels
    image_HWC[2, 4] = 0.1  # the only one of its patch
    expected = [[20 - 20 * np.log10(1.0), 100, 100], [100, 100, 20]]
    assert psnr_of_patches(image_HWC, clean_HWC, 2).tolist() == [
        pytest.approx(row, abs=1e-5) for row in expected
    ]


def test_the_gradient_is_even_where_the_image_is_flat_or_a_ramp_and_the_edge_is_no_edge() -> None:
    ramp_HWC = np.linspace(0.5, 1, 20)[None, :, None].repeat(12, 0).repeat(3, 2)
    assert gradient_of_patches(ramp_HWC, 8) == pytest.approx(np.zeros((2, 3)), abs=1e-9)
    stepped_HWC = ramp_HWC.copy()
    stepped_HWC[:, 4:] += 1
    spread_RQ = gradient_of_patches(stepped_HWC, 8)
    assert (spread_RQ[:, 0] > 0.1).all() and spread_RQ[:, 1:] == pytest.approx(np.zeros((2, 2)), abs=1e-9)


def test_the_least_gradient_goes_to_the_least_work() -> None:
    assert bound("gradient", observed(np.zeros((5, 3)), [5, 1, 4, 2, 3]), [2, 2, 1, 0, 0]) == [2, 0, 2, 0, 1]


def test_chance_is_the_same_every_time_and_leaves_no_order() -> None:
    level_N = [0] * 30 + [2] * 30
    drawn = bound("random", observed(np.zeros((60, 3))), level_N)
    assert drawn == bound("random", observed(np.zeros((60, 3))), level_N) and sum(drawn[:30]) in range(10, 51)


def test_the_oracle_spends_the_work_where_it_gains_the_most() -> None:
    gains = observed([[0, 0, 0.1], [0, 3, 5], [0, 0, 1], [2, 1, 0]])
    assert bound("oracle", gains, [0, 0, 0, 2]) == [0, 2, 0, 0]
    assert bound("oracle", gains, [0, 0, 2, 2]) == [0, 2, 2, 0]
    assert bound("oracle", gains, [2, 2, 2, 2]) == [2, 2, 2, 0]  # no work that does harm


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(-3, 3))
def test_no_levels_for_as_much_work_are_better_than_the_oracles(
    seed: int, patches: int, better: float
) -> None:
    draw = np.random.default_rng(seed)
    known = Observed(
        work_K=WORK_K,
        gradient_N=draw.random(patches),
        psnr_NK=draw.normal(size=(patches, 3)) + better * WORK_K,
    )
    level_N = draw.integers(0, 3, patches)
    means = {
        name: known.psnr_NK[np.arange(patches), bound(name, known, level_N.tolist())].mean()
        for name in BOUNDS
    }
    own = known.psnr_NK[np.arange(patches), level_N].mean()
    assert means["oracle"] >= max(means["random"], means["gradient"], own) - 1e-9
    for name in ("random", "gradient"):
        assert sorted(bound(name, known, level_N.tolist())) == sorted(level_N)
    work = WORK_K[bound("oracle", known, level_N.tolist())].mean()
    assert work <= WORK_K[level_N].mean() + 0.75 / patches + 1e-9


def test_the_shares_of_levels_are_in_the_order_of_work() -> None:
    assert shares(np.array([[0, 2], [2, 2]]), ["a", "b", "c"]) == {
        "patches/a": 0.25,
        "patches/b": 0,
        "patches/c": 0.75,
    }


LEVELS = ["easy", "hard"]
ROWS = [
    ("<r>", STATIC, 0.25, 20.0, 0.2, 2.0, [1.0, 0.0]),
    ("<r>", STATIC, 1.0, 30.0, 0.8, 4.0, [0.0, 1.0]),
    *(("<r>", way, 0.5, 26.0, 0.4, 6.0, [0.6, 0.4]) for way in (ROUTER, *BOUNDS)),
    ("dense", STATIC, 1.0, 31.0, 1.0, 5.0, [np.nan, np.nan]),
]


def frame() -> pd.DataFrame:
    """Two images of `derain`, the second of which takes twice the time, and one of `dehaze`, 3 dB better."""
    rows = [
        dict(zip(COLUMNS, (ticket, "a" * 64, way, budget, image, task, "paper", psnr_db + more, 0.5, work, seconds * long)))
        | dict(zip(("patches/easy", "patches/hard"), parts))
        for ticket, way, budget, psnr_db, work, seconds, parts in ROWS
        for task, image, more, long in (("derain", "a", 0, 1), ("derain", "b", 1, 2), ("dehaze", "a", 3, 1))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_point_is_a_mean_over_tasks_and_its_time_a_share_of_the_largest_sub_networks() -> None:
    found = points(frame()).set_index(["way", "task"]).loc[ROUTER]
    assert found["psnr_db"].to_dict() == {"mean": 27.75, "derain": 26.5, "dehaze": 29.0}
    assert found.loc["derain", "seconds"] == 9 and set(found["time"]) == {1.5} and set(found["work"]) == {0.4}
    assert found.loc["mean", "patches/easy"] == pytest.approx(0.6)


def test_the_summary_names_the_sub_networks() -> None:
    table = summary(frame())
    assert table["way"].tolist() == ["static easy", "static hard", ROUTER, *BOUNDS, STATIC]
    assert list(table) == ["ticket", "way", "budget", "mean", "derain", "dehaze", "work", "seconds", "time"]
    assert table["mean"].tolist() == [21.75, 31.75, *[27.75] * 4, 32.75]
    assert (levels_of(frame(), "<r>"), levels_of(frame(), "dense")) == (LEVELS, [])


def test_the_page_shows_every_way_and_the_levels_over_the_pictures() -> None:
    picture = Picture(image="a", task="derain", input_HWC=np.full((24, 40, 3), 90, np.uint8))
    grid = Grid(np.array([[0, 0, 1], [1, 0, 0]]), 16)
    levels = {Key("<r>", way, 0.5, "derain", "a"): grid for way in (ROUTER, *BOUNDS)}
    text = page(frame(), [picture], levels, "tiny")
    assert text == page(frame(), [picture], levels, "tiny")
    assert "<r>" not in text and "&lt;r&gt;" in text and "◆ dense" in text
    assert text.count("<svg role=") == 6  # mean and two tasks, against work and time
    assert text.count("<use href=") == 1 + len(SHOWN) and text.count("data:image/webp") == 1
    assert text.count("<rect class=") == 4 * len(SHOWN)
    assert '<rect class="level" style="--at: 100%" x="32" y="0" width="16" height="16"/>' in text
    assert 'style="--at: 0%; width: 60.00%" title="easy: 60.0 %"' in text
    assert "http" not in text.replace("http://www.w3.org", "") and "light-dark(" in text
