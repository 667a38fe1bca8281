"""The report in a real browser. The fixture `page` fails a test whose page complains on the console."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mirl.evaluation.comparison import Candidate, assess
from mirl.evaluation.report import write_report
from mirl.evaluation.winning import RuleSection

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def report(made_up: list[Candidate], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    decision = {"ticket": "layerwise-r5", "reasons": ["layerwise-r5 is promoted."], "sha256": "ab"}
    write_report(folder, assess(made_up, RuleSection()), decision, RuleSection(), "demo")
    return Path(folder / "index.html").as_uri()


@pytest.fixture
def shown(report: str, page: "Page") -> "Page":
    page.goto(report)
    return page


def test_every_chart_is_drawn(shown: "Page") -> None:
    charts = shown.locator("svg[role]")
    assert charts.count() == 6 + 6  # mean and five tasks; dense and five arms
    for chart in charts.all():
        box = chart.bounding_box()
        assert box and box["width"] > 200 and box["height"] > 100
        lines = chart.locator("path").evaluate_all(
            "all => all.filter(one => one.getBBox().width > 20).length"
        )
        assert lines > 0


def test_every_picture_is_loaded(shown: "Page") -> None:
    widths = shown.locator(".stage img").evaluate_all("all => all.map(one => one.naturalWidth)")
    assert len(widths) >= 2 * 5 and min(widths) > 0


def test_the_slider_moves(shown: "Page") -> None:
    stage = shown.locator(".stage").first
    stage.scroll_into_view_if_needed()
    assert stage.locator("input").input_value() == "50"
    box = stage.bounding_box()
    assert box
    left = stage.locator("img.left")
    before = left.screenshot()
    shown.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    at = float(stage.evaluate("stage => stage.style.getPropertyValue('--at')").rstrip("%"))
    assert at == pytest.approx(80, abs=3)
    assert left.screenshot() != before


def test_the_pictures_beside_one_another_can_be_chosen(shown: "Page") -> None:
    shot = shown.locator("[data-shot]").first
    shot.get_by_role("group", name="right picture").get_by_role("button", name="clean").click()
    assert shot.locator("[data-tag=right]").inner_text() == "clean"
    assert shot.locator("img[data-layer=clean]").is_visible()
    assert not shot.locator("img[data-layer=ticket]").is_visible()


@pytest.mark.parametrize("wide", [390, 1400])
def test_nothing_is_wider_than_the_window(wide: int, shown: "Page") -> None:
    shown.set_viewport_size({"width": wide, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") <= wide
