"""A chain of requirements beside a model of its own for each: sizes, work, the picture, and the decision."""

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pandas as pd
import pytest
import torch

from mirl.evaluation import requirements
from mirl.evaluation.comparison import Candidate, assess
from mirl.evaluation.report import comparison, write_report
from mirl.evaluation.sharing_figure import LIGHT, draw
from mirl.promotion import PolicySection, decide
from mirl.sparsity.mask import Mask
from mirl.sparsity.masks import Masks
from mirl.sparsity.sharing import Sharing

if TYPE_CHECKING:
    from playwright.sync_api import Page

Make = Callable[..., Candidate]
Scores = Callable[..., pd.DataFrame]

TASKS = ["denoise_15", "denoise_25", "derain"]
RULE = PolicySection(reference={task: f"single-{task}" for task in TASKS}, max_density=0.7)


def sharing(tasks: list[str]) -> Sharing:
    """Each requirement owns a quarter of both layers, and uses what there was."""
    masks = {}
    for place, task in enumerate(tasks, start=1):
        keep = {"<head>.weight": torch.arange(4) < place, "tail.weight": torch.arange(8) < 2 * place}
        masks[task] = Mask(keep)
    return Sharing.of(Masks(masks))


@pytest.fixture
def chain(ticket: Make, scores: Scores) -> list[Candidate]:
    """A model for each of three tasks, one for all of them, and tickets that serve one, two and all."""

    def told(made: Candidate, masks: dict[str, list[str]], share: float) -> Candidate:
        tasks = [task for served in masks.values() for task in served]
        return replace(
            made,
            scores=made.scores[made.scores["task"].isin(tasks)],
            told=True,
            requirements=masks,
            sharing=sharing(list(masks)),
            metrics={**made.metrics, **{f"macs_g/{task}": 3.9 * share for task in tasks}},
        )

    found = [
        told(ticket(f"single-{task}", "dense", "dense", 0, 1.0, scores(6.0)), {task: [task]}, 1.0)
        for task in TASKS
    ]
    found.append(told(ticket("joint", "dense", "dense", 0, 1.0, scores(6.0)), {"-".join(TASKS): TASKS}, 1.0))
    for count in (1, 2, 3):
        made = ticket(f"png-{count}", "png", "png", count, 0.2 * count, scores(6.0, 0.05))
        found.append(told(made, {task: [task] for task in TASKS[:count]}, 0.2 * count))
    return found


def test_a_chain_is_partial_until_all_requirements_are_served(chain: list[Candidate]) -> None:
    assessed = assess(chain, RULE)
    words = {entry.candidate.name: entry.verdict.word for entry in assessed}
    assert [words[f"png-{count}"] for count in (1, 2, 3)] == ["partial", "partial", "wins"]
    assert words["single-derain"] == "reference" and words["joint"] == "matches"
    decision = decide(assessed, None, RULE)
    assert decision.ticket == "png-3"
    assert "png-2 (40.0 %): not admitted: is partial" in "\n".join(decision.reasons)


def test_sizes_are_shares_of_the_single_models_together(chain: list[Candidate]) -> None:
    table = comparison(assess(chain, RULE), RULE).set_index("name")
    size = {candidate.name: candidate.metrics for candidate in chain}
    for name, count in (("png-2", 2), ("png-3", 3), ("joint", 3)):
        for measure, key in (("params", "params/kept"), ("mb", "ticket_mb")):
            together = sum(size[f"single-{task}"][key] for task in TASKS[:count])
            assert table.loc[name, f"of_singles/{measure}"] == pytest.approx(size[name][key] / together)
    assert table["of_singles/mb"].isna().sum() == 4  # the single models, and what serves one task
    assert table.loc["png-3", "macs_g/derain"] == pytest.approx(3.9 * 0.6)
    without = [candidate for candidate in chain if candidate.name != "single-derain"]
    assert requirements.of_singles(chain[-1], without) == {}


def test_studies_without_requirements_have_no_such_columns(made_up: list[Candidate]) -> None:
    table = comparison(assess(made_up, PolicySection()), PolicySection())
    assert not [name for name in map(str, table) if "of_singles" in name or "macs_g/" in name]


def test_a_requirement_of_several_tasks_has_one_model_or_one_for_each(chain: list[Candidate]) -> None:
    both = replace(chain[-1], requirements={"a": TASKS[:1], "b": TASKS[1:]})
    assert [m.name for m in requirements.single_models(both, chain)] == [f"single-{task}" for task in TASKS]
    pair = replace(chain[3], name="pair", requirements={"b": TASKS[:0:-1]})
    named = [model.name for model in requirements.single_models(both, [*chain, pair])]
    assert named == [f"single-{TASKS[0]}", "pair"]


def test_rows_stand_beside_the_single_models(chain: list[Candidate]) -> None:
    assessed = assess(chain, RULE)
    last = requirements.chains(assessed)
    assert [entry.candidate.name for entry in last] == ["png-3"]
    rows = requirements.rows(last[0], assessed)
    assert [row["task"] for row in rows] == TASKS
    assert [row["model"] for row in rows] == [f"single-{task}" for task in TASKS]
    assert [row["used"] for row in rows] == [0.25, 0.5, 0.75] and {row["own"] for row in rows} == {0.25}
    assert rows[2]["model_macs_g"] == pytest.approx(3.9) and rows[2]["macs_g"] == pytest.approx(0.6 * 3.9)


def test_the_picture_is_one_whole_svg_in_the_colours_of_the_pages() -> None:
    names = ["denoise_15", "a_requirement_with_a_long_name", *"cdefg"]
    drawn = draw("<b>", sharing(names[:4]))
    root = ElementTree.fromstring(drawn)
    words = [element.text for element in root.iter() if element.text]
    assert "<b>: 0.0 % of the prunable weights are free" in words and "<head>" in words
    assert "a_requirement_w…" in words and "denoise_15" in words
    assert words.count("25.0 %") == 4 + 3 + 2 + 1 + 1  # of each owner, and of the first in all
    assert "c, <head>.weight: denoise_15 25.0 %, a_requirement_with_a_long_name 25.0 %, c 25.0 %" in words
    style = files("mirl.evaluation").joinpath("page.css").read_text("utf-8")
    for variable, colour in LIGHT.items():
        found = re.search(rf"{variable}: light-dark\((#\w+)", style)
        assert found and found[1] == colour, variable


def test_the_page_shows_the_chain(chain: list[Candidate], tmp_path: Path, page: "Page") -> None:
    assessed = assess(chain, RULE)
    write_report(tmp_path, assessed, decide(assessed, None, RULE).plain(), RULE, "png")
    page.goto((tmp_path / "index.html").as_uri())
    section = page.locator("#requirements ~ .card table").first
    assert section.locator("tbody tr").count() == 3
    assert "single-derain" in section.inner_text() and "60.0 %" in section.inner_text()
    assert (
        "of single-denoise_15, single-denoise_25, single-derain together"
        in page.locator("h3").first.inner_text()
    )
    picture = page.locator("svg[aria-label='png-3: who uses whose weights']")
    box = picture.bounding_box()
    assert box and box["width"] > 500 and picture.locator("rect").count() > 3 * 2
    assert page.locator("#work ~ .panels").first.locator("svg").count() == 3
