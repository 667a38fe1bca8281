"""Report of a study: one self-contained page, and the same results as tables for other tools."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mirl.evaluation import cards, requirements, views
from mirl.evaluation.comparison import Assessment, compare
from mirl.evaluation.winning import RuleSection

STYLE = "page.css"
"""The style of every page: cards, tables and panels, light or dark."""


def write_report(
    folder: Path,
    assessments: Sequence[Assessment],
    decision: Mapping[str, Any],
    rule: RuleSection,
    title: str,
) -> None:
    """Write everything that the compare stage leaves in the existing `folder`.

    `decision` is plain data: ticket (name or None), reasons, sha256. Writes index.html, comparison.csv,
    comparison.parquet, decision.json and plots/<arm>.csv; the same input makes the same bytes.
    """
    table = comparison(assessments, rule)
    table.to_csv(folder / "comparison.csv", index=False, lineterminator="\n")
    table.to_parquet(folder / "comparison.parquet", index=False)
    (folder / "decision.json").write_text(
        json.dumps(decision, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / "plots").mkdir(exist_ok=True)
    for arm, points in curves(assessments, rule).items():
        points.to_csv(folder / "plots" / f"{arm}.csv", index=False, lineterminator="\n")
    (folder / "index.html").write_text(page(assessments, decision, rule, title), encoding="utf-8")


def comparison(assessments: Sequence[Assessment], rule: RuleSection) -> pd.DataFrame:
    """Return the table of `compare`, with the sizes of `of_singles` where they are known."""
    table = compare(assessments, rule)
    everybody = [entry.candidate for entry in assessments]
    sizes = pd.DataFrame([requirements.of_singles(candidate, everybody) for candidate in everybody])
    return pd.concat([table, sizes.set_index(table.index)], axis=1)


def curves(assessments: Sequence[Assessment], rule: RuleSection) -> dict[str, pd.DataFrame]:
    """Return for each arm the density and every PSNR and SSIM of its tickets, dense to sparse, for `dvc plots`.

    Tickets that serve only some of the tasks are left out, as their means are over other tasks.
    """
    tables = {}
    for arm in views.arms(assessments, rule):
        points = [entry for entry in views.tickets(assessments, arm, rule) if not entry.partial]
        rows = [
            {"density": entry.candidate.density, "name": entry.candidate.name, **entry.quality}
            for entry in points
        ]
        if any(entry.candidate.arm == arm.name for entry in points):
            tables[arm.name] = pd.DataFrame(rows)
    return tables


def page(
    assessments: Sequence[Assessment], decision: Mapping[str, Any], rule: RuleSection, title: str
) -> str:
    """Return the report as one HTML document that needs no other file and works with or without scripts."""
    return render(
        "report.html.j2",
        title=title,
        decision=decision,
        rule=rule,
        reference=rule.reference_in_words,
        own_references=rule.reference if isinstance(rule.reference, dict) else {},
        some_partial=any(entry.partial for entry in assessments),
        some_told=any(entry.candidate.told for entry in assessments),
        headline=views.headline(assessments, decision, rule),
        arms=views.arms(assessments, rule),
        rows=views.rows(assessments, rule),
        with_energy=any("train_joules" in entry.candidate.metrics for entry in assessments),
        devices=views.devices(assessments),
        tasks=views.tasks(assessments),
        panels=views.panels(assessments, rule),
        heat=views.heat(assessments, rule),
        chains=views.chains(assessments),
        against_work=views.against_work(assessments, rule),
        pictures=cards.pictures(assessments, decision, rule),
        collapse=[(entry, entry.candidate.findings) for entry in assessments if entry.candidate.findings],
        training=views.training(assessments, rule),
        images=views.image_counts(assessments, rule),
    )


def render(template: str, **values: Any) -> str:
    """Render a page of this package from its template, in the style that all pages share."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    texts = {name: files(__package__).joinpath(name).read_text("utf-8") for name in (template, STYLE)}
    return environment.from_string(texts[template]).render(style=Markup(texts[STYLE]), **values)
