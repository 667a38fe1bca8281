import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from mirl.evaluation.comparison import Assessment, Candidate, assess
from mirl.evaluation.report import curves, write_report
from mirl.evaluation.views import interval_bar
from mirl.evaluation.winning import Interval, RuleSection
from tests.evaluation.conftest import made_up_scores, made_up_ticket

RULE = RuleSection()
WON = {"ticket": "layerwise-r5", "reasons": ["layerwise-r5 is promoted.", "dense: no <b>"], "sha256": "ab"}
NOBODY = {"ticket": None, "reasons": ["Nothing is promoted: all lose."], "sha256": ""}


class Reader(HTMLParser):
    """Collects the addresses and the unclosed tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def assessments(made_up: list[Candidate]) -> list[Assessment]:
    return assess(made_up, RULE)


@pytest.fixture(scope="module")
def written(assessments: list[Assessment], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, assessments, WON, RULE, "demo")
    return folder


@pytest.fixture(scope="module")
def page(written: Path) -> str:
    return (written / "index.html").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.*")}


def test_the_page_needs_nothing_else(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    assert all(address.startswith(("#", "data:image/")) for address in reader.addresses)
    outside = re.findall(r"https?://[^\s\"'<)]+", page)
    assert all(url.startswith("http://www.w3.org/") for url in outside)  # names of SVG's vocabularies


def test_the_page_shows_everything(page: str, assessments: list[Assessment]) -> None:
    text = re.sub(r"<[^>]+>", " ", page)
    for said in [
        "layerwise-r5 is promoted.",
        "dense: no &lt;b&gt;",
        "encoder.2.depth",
        "nothing flows through them",
    ]:
        assert said in text
    for entry in assessments:
        assert entry.candidate.name in text
    assert page.count("<svg role=") == 6 + 6  # mean and five tasks; dense and five arms
    assert page.count("data-shot") == 5 + 1  # five pictures, and the script
    assert 'class="gone' in page


def test_the_page_shows_what_the_search_has_cost_and_energy_only_where_a_machine_told(
    page: str, made_up: list[Candidate], tmp_path: Path
) -> None:
    assert "14,000" in page and "7×" in page  # dense and six rounds of 2,000 steps
    assert "Trained on two threads: dense, global-r1" in page
    assert "<br>kJ<" not in page and "Joules: no machine told them." in page
    told = dict(made_up[0].metrics) | {"train_joules": 43210.0, "weight_steps": 6875}
    some = [Candidate(**{**vars(made_up[0]), "metrics": told}), made_up[1]]
    write_report(tmp_path, assess(some, RULE), NOBODY, RULE, "demo")
    text = (tmp_path / "index.html").read_text()
    assert (
        "<br>kJ<" in text
        and "no machine told" not in text
        and "<td>43.2</td>" in text
        and "<td>6,875</td>" in text
        and text.count("<td>–</td>") >= 1
    )


def test_the_page_says_where_it_is_not_known_whether_a_ticket_beats_its_controls(
    made_up: list[Candidate], tmp_path: Path
) -> None:
    longer = made_up_ticket("longer", "longer", "replay", 1, 1.0, made_up_scores(6.0, 0.9))
    write_report(tmp_path, assess([*made_up[:2], longer], RULE), NOBODY, RULE, "demo")
    assert "<td>unknown</td>" in (tmp_path / "index.html").read_text()


def test_drawings_take_the_colours_of_the_page(page: str) -> None:
    assert "#0a0b" not in page
    for variable in ("--ink", "--dense", "--arm-0", "--arm-4"):
        assert f"stroke: var({variable})" in page or f"fill: var({variable})" in page


def test_the_same_input_makes_the_same_bytes(
    written: Path, assessments: list[Assessment], tmp_path: Path
) -> None:
    write_report(tmp_path, assessments, WON, RULE, "demo")
    assert contents(tmp_path) == contents(written)
    names = {"index.html", "comparison.csv", "comparison.parquet", "decision.json", "plots/global.csv"}
    assert names <= set(contents(written))


def test_tables_hold_what_the_page_shows(written: Path, assessments: list[Assessment]) -> None:
    names = [entry.candidate.name for entry in assessments]
    assert list(pd.read_csv(written / "comparison.csv")["name"]) == names
    assert list(pd.read_parquet(written / "comparison.parquet")["name"]) == names
    assert json.loads((written / "decision.json").read_text()) == WON


def test_the_curve_of_an_arm_starts_at_dense_and_gets_sparser(assessments: list[Assessment]) -> None:
    found = curves(assessments, RULE)
    assert list(found) == ["global", "layerwise", "random", "reinit", "oneshot"]
    assert list(found["global"]["name"])[:2] == ["dense", "global-r1"]
    assert found["global"]["density"].is_monotonic_decreasing
    assert list(found["random"]["name"]) == ["random-49", "random-24"]
    assert {"psnr_db/mean", "psnr_db/derain", "input_psnr_db/derain"} <= set(found["global"].columns)


def test_a_study_with_nothing_but_its_dense_ticket_has_a_page(
    made_up: list[Candidate], tmp_path: Path
) -> None:
    bare = Candidate(**{**vars(made_up[0]), "history": None, "pictures": (), "layer_density": {}})
    write_report(tmp_path, assess([bare], RULE), NOBODY, RULE, "demo")
    text = (tmp_path / "index.html").read_text()
    assert "Before and after" not in text and "No sign of it in any ticket" in text
    assert "No winning ticket" in text


def test_interval_bars_stop_at_the_edge() -> None:
    bar = interval_bar(Interval(mean_db=0.75, low_db=0.0, high_db=9.0))
    assert bar == {"low": 50, "mean": 75, "high": 100}
