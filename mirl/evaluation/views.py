"""Contents of the report's page as plain values ready to print; the only HTML is that of the inline drawings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from mirl.evaluation import figures, requirements
from mirl.evaluation.comparison import Assessment
from mirl.evaluation.sharing_figure import draw
from mirl.evaluation.winning import Interval, RuleSection

_SPAN_DB = 1.5
"""The table's interval bars reach this far to each side; larger differences stop at the edge."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One chain of rounds, with the colour it has all over the page."""

    name: str
    method: str
    colour: int
    control: bool


def arms(assessments: Sequence[Assessment], rule: RuleSection) -> list[Arm]:
    """Return the arms other than those of the references: first those that may be promoted, then the controls."""
    of_references = {entry.candidate.arm for entry in references_of(assessments, rule)}
    found: dict[str, tuple[bool, str]] = {}
    for entry in assessments:
        candidate = entry.candidate
        if candidate.arm not in of_references:
            found[candidate.arm] = (candidate.role == "control", candidate.method)
    ordered = sorted(found.items(), key=lambda item: item[1][0])
    return [
        Arm(name=name, method=method, colour=index % figures.PALETTE, control=control)
        for index, (name, (control, method)) in enumerate(ordered)
    ]


def tickets(assessments: Sequence[Assessment], arm: Arm, rule: RuleSection) -> list[Assessment]:
    """Return the tickets of an arm from dense to sparse; an arm that may be promoted starts at the references."""
    own = [entry for entry in assessments if entry.candidate.arm == arm.name]
    start = [] if arm.control else references_of(assessments, rule)
    return start + sorted(own, key=lambda entry: -entry.candidate.density)


def tasks(assessments: Sequence[Assessment]) -> list[str]:
    """Return the restoration tasks that were scored, in the order of their names."""
    return sorted({task for entry in assessments for task in entry.tasks})


def image_counts(assessments: Sequence[Assessment], rule: RuleSection) -> dict[str, int]:
    """Count the test images of each task."""
    tables = [entry.candidate.scores for entry in assessments]
    scores = pd.concat(tables).drop_duplicates(["image", "task", "protocol"])
    counts = scores[scores["protocol"] == rule.protocol].groupby("task").size()
    return {str(task): int(count) for task, count in counts.items()}


def headline(
    assessments: Sequence[Assessment], decision: Mapping[str, Any], rule: RuleSection
) -> list[tuple[str, str, str]]:
    """Return the promoted ticket's figures as (name, value, beside the reference); empty if none is promoted."""
    chosen = next((entry for entry in assessments if entry.candidate.name == decision["ticket"]), None)
    if chosen is None:
        return []
    references, reference = references_of(assessments, rule), rule.reference_in_words
    metrics, before = chosen.candidate.metrics, {} if references[1:] else references[0].candidate.metrics
    quality, ssim = chosen.difference.mean, reference_quality(assessments, rule, "ssim", "mean")
    shown = [
        (
            "density",
            f"{100 * chosen.candidate.density:.1f} %",
            f"{100 * metrics['density/all']:.1f} % of all parameters",
        ),
        *(
            [("work", f"{100 * chosen.cost:.1f} %", "of the multiply-accumulates")]
            if rule.cost == "work"
            else []
        ),
        ("PSNR", f"{chosen.quality['psnr_db/mean']:.2f} dB", f"{quality} to {reference}"),
        ("SSIM", f"{chosen.quality['ssim/mean']:.4f}", f"{ssim:.4f} {reference}"),
    ]
    for key, what, unit in (("ticket_mb", "ticket file", "MB"), ("macs_g", "work at 256x256", "GMACs")):
        if key in metrics and key in before:
            shown.append((what, f"{metrics[key]:.3g} {unit}", f"{before[key]:.3g} {unit} {reference}"))
    return shown


def rows(assessments: Sequence[Assessment], rule: RuleSection) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    colours = {arm.name: arm for arm in arms(assessments, rule)}
    best = max((e.quality["psnr_db/mean"] for e in assessments if not e.partial), default=None)
    return [
        {
            "entry": entry,
            "arm": colours.get(entry.candidate.arm),
            "bar": interval_bar(entry.difference.mean) if entry.verdict.word != "reference" else None,
            "beats": entry.beats_controls,
            "best": not entry.partial and entry.quality["psnr_db/mean"] == best,
            "tone": "reference" if entry.verdict.word == "partial" else entry.verdict.word,
            "notes": _notes(entry),
            "metrics": entry.candidate.metrics,
        }
        for entry in assessments
    ]


def _notes(entry: Assessment) -> list[str]:
    """Return the notes beneath a ticket's name that qualify its numbers."""
    notes = [", ".join(entry.tasks)] if entry.partial else []
    return [*notes, "told its task"] if entry.candidate.told else notes


def devices(assessments: Sequence[Assessment]) -> list[tuple[str, list[str]]]:
    """Return each known device that tickets were trained on, with the names of those tickets."""
    found: dict[str, list[str]] = {}
    for entry in assessments:
        if entry.candidate.device:
            found.setdefault(entry.candidate.device, []).append(entry.candidate.name)
    return list(found.items())


def interval_bar(interval: Interval) -> dict[str, float]:
    """Place low, mean and high in a bar from -1.5 to +1.5 dB, in percent of the bar's width."""
    places = {"low": interval.low_db, "mean": interval.mean_db, "high": interval.high_db}
    return {name: 50 + 50 * max(-1.0, min(1.0, value / _SPAN_DB)) for name, value in places.items()}


def panels(assessments: Sequence[Assessment], rule: RuleSection) -> list[Markup]:
    """Draw PSNR against density: the mean for the tickets that serve every task, then each task."""
    drawn = []
    for task in ("mean", *tasks(assessments)):
        shown = [
            figures.Curve(
                arm=arm.name,
                colour=arm.colour,
                control=arm.control,
                densities=[entry.candidate.density for entry in points],
                values=[entry.quality[f"psnr_db/{task}"] for entry in points],
                collapsed=[entry.collapsed for entry in points],
            )
            for arm in arms(assessments, rule)
            for points in [_on(task, tickets(assessments, arm, rule), rule)]
            if points
        ]
        title = "mean over tasks" if task == "mean" else task
        lines = [
            reference_quality(assessments, rule, metric, task) for metric in ("psnr_db", "input_psnr_db")
        ]
        drawn.append(Markup(figures.against_density(title, shown, *lines)))
    return drawn


def against_work(assessments: Sequence[Assessment], rule: RuleSection) -> list[Markup]:
    """Draw PSNR against work for each task that tickets are told: a point for each ticket that does another work."""
    colours = {arm.name: arm for arm in arms(assessments, rule)}
    drawn = []
    for task in tasks(assessments):
        points: dict[tuple[float, float], str] = {}
        for entry in assessments:
            work = entry.candidate.metrics.get(f"macs_g/{task}")
            if work is not None and task in entry.tasks:
                points.setdefault((work, entry.quality[f"psnr_db/{task}"]), entry.candidate.arm)
        traces = [
            figures.Trace(
                colour=colours[arm].colour if arm in colours else None,
                marker="s" if arm in colours and colours[arm].control else "o",
                x=[work],
                psnr_db=[psnr_db],
            )
            for (work, psnr_db), arm in points.items()
        ]
        if traces:
            drawn.append(Markup(figures.against(task, "GMACs for 256 x 256 pixels", traces)))
    return drawn


def chains(assessments: Sequence[Assessment]) -> list[dict[str, Any]]:
    """Return what is shown of each ticket of several requirements: a table, its size, and who uses whose weights."""
    found = []
    for entry in requirements.chains(assessments):
        others = [each.candidate for each in assessments]
        candidate = entry.candidate
        found.append(
            {
                "name": candidate.name,
                "rows": requirements.rows(entry, assessments),
                "singles": [model.name for model in requirements.single_models(candidate, others)],
                "sizes": requirements.of_singles(candidate, others),
                "picture": candidate.sharing and Markup(draw(candidate.name, candidate.sharing)),
            }
        )
    return found


def reference_quality(assessments: Sequence[Assessment], rule: RuleSection, metric: str, task: str) -> float:
    """Return `metric` of the reference of `task`; for `mean`, the mean over the tasks, each with its own reference."""
    references = references_of(assessments, rule)
    if len(references) == 1:
        return references[0].quality[f"{metric}/{task}"]
    of = {entry.candidate.name: entry.quality for entry in references}
    wanted = tasks(assessments) if task == "mean" else [task]
    return float(np.mean([of[rule.reference_of(each) or ""][f"{metric}/{each}"] for each in wanted]))


def heat(assessments: Sequence[Assessment], rule: RuleSection) -> dict[str, Any]:
    """Return the density of each layer in each round: columns by arm, and for each layer a line of (density, shade)."""
    columns = []
    for arm in arms(assessments, rule):
        own = [
            entry.candidate for entry in tickets(assessments, arm, rule) if entry.candidate.arm == arm.name
        ]
        columns += [
            (arm, index == 0, candidate) for index, candidate in enumerate(own) if candidate.layer_density
        ]
    layers = list(dict.fromkeys(layer for _, _, candidate in columns for layer in candidate.layer_density))
    lines = []
    for layer in layers:
        cells = [candidate.layer_density.get(layer) for _, _, candidate in columns]
        lines.append((layer.removesuffix(".weight"), [(value, _shade(value)) for value in cells]))
    groups = [(arm, sum(column[0] is arm for column in columns)) for arm, first, _ in columns if first]
    return {"columns": columns, "groups": groups, "lines": lines}


def training(assessments: Sequence[Assessment], rule: RuleSection) -> list[Markup]:
    """Draw the training curves: those of the references, then one panel for each arm."""
    references = references_of(assessments, rule)
    groups: list[tuple[str, int | None, list[Assessment]]] = [
        (reference.candidate.name, None, [reference]) for reference in references
    ]
    groups += [
        (
            arm.name,
            arm.colour,
            [
                entry
                for entry in tickets(assessments, arm, rule)
                if entry.candidate.name not in rule.references
            ],
        )
        for arm in arms(assessments, rule)
    ]
    drawn = []
    for title, colour, entries in groups:
        own = [(e.candidate.name, e.candidate.history) for e in entries]
        histories = [(name, history) for name, history in own if history is not None and len(history)]
        if histories:
            drawn.append(Markup(figures.training(title, histories, colour)))
    return drawn


def references_of(assessments: Sequence[Assessment], rule: RuleSection) -> list[Assessment]:
    """Return the references in the order in which the rule names them."""
    named = {entry.candidate.name: entry for entry in assessments}
    return [named[name] for name in rule.references]


def _on(task: str, points: Sequence[Assessment], rule: RuleSection) -> list[Assessment]:
    """Select the points of an arm that a panel shows; for `mean`, those whose mean is over every task."""
    if task == "mean":
        return [
            e
            for e in points
            if not e.partial and (len(rule.references) == 1 or e.verdict.word != "reference")
        ]
    others = set(rule.references) - {rule.reference_of(task)}
    return [e for e in points if task in e.tasks and e.candidate.name not in others]


def _shade(density: float | None) -> float:
    """Return a shade in 0..100: 0 for a density of 1/1000 and less, 100 for a dense layer, logarithmic between."""
    return 0.0 if not density else float(np.clip(100 + 100 * np.log10(density) / 3, 0, 100))
