"""What the report's page shows, as plain values ready to print: no HTML here but the inline drawings."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from mirl.evaluation import figures
from mirl.evaluation.comparison import Assessment
from mirl.evaluation.scoring import ExamplePicture
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
    """The arms besides the reference's: those that may be promoted first, then the controls."""
    reference = _reference(assessments, rule)
    found: dict[str, tuple[bool, str]] = {}
    for entry in assessments:
        candidate = entry.candidate
        if candidate.arm != reference.candidate.arm:
            found[candidate.arm] = (candidate.role == "control", candidate.method)
    ordered = sorted(found.items(), key=lambda item: item[1][0])
    return [
        Arm(name=name, method=method, colour=index % figures.PALETTE, control=control)
        for index, (name, (control, method)) in enumerate(ordered)
    ]


def tickets(assessments: Sequence[Assessment], arm: Arm, rule: RuleSection) -> list[Assessment]:
    """The tickets of an arm from dense to sparse; an arm that may be promoted starts at the reference."""
    own = [entry for entry in assessments if entry.candidate.arm == arm.name]
    start = [] if arm.control else [_reference(assessments, rule)]
    return start + sorted(own, key=lambda entry: -entry.candidate.density)


def tasks(assessments: Sequence[Assessment]) -> list[str]:
    """The restoration tasks that were scored."""
    return [key.removeprefix("psnr_db/") for key in assessments[0].quality if _of_task(key)]


def image_counts(assessments: Sequence[Assessment], rule: RuleSection) -> dict[str, int]:
    """Test images of each task."""
    scores = assessments[0].candidate.scores
    counts = scores[scores["protocol"] == rule.protocol].groupby("task").size()
    return {str(task): int(count) for task, count in counts.items()}


def headline(
    assessments: Sequence[Assessment], decision: Mapping[str, Any], rule: RuleSection
) -> list[tuple[str, str, str]]:
    """The promoted ticket's figures as (what, value, beside the reference); empty where none is promoted."""
    chosen = next((entry for entry in assessments if entry.candidate.name == decision["ticket"]), None)
    if chosen is None:
        return []
    dense = _reference(assessments, rule)
    metrics, before = chosen.candidate.metrics, dense.candidate.metrics
    quality = chosen.difference.mean
    shown = [
        (
            "density",
            f"{100 * chosen.candidate.density:.1f} %",
            f"{100 * metrics['density/all']:.1f} % of all parameters",
        ),
        ("PSNR", f"{chosen.quality['psnr_db/mean']:.2f} dB", f"{quality} to {rule.reference}"),
        ("SSIM", f"{chosen.quality['ssim/mean']:.4f}", f"{dense.quality['ssim/mean']:.4f} {rule.reference}"),
    ]
    for key, what, unit in (("ticket_mb", "ticket file", "MB"), ("macs_g", "work at 256x256", "GMACs")):
        if key in metrics and key in before:
            shown.append((what, f"{metrics[key]:.3g} {unit}", f"{before[key]:.3g} {unit} {rule.reference}"))
    return shown


def rows(assessments: Sequence[Assessment], rule: RuleSection) -> list[dict[str, Any]]:
    """The lines of the table."""
    colours = {arm.name: arm for arm in arms(assessments, rule)}
    beats = {None: "", True: "yes", False: "no"}
    best = max(entry.quality["psnr_db/mean"] for entry in assessments)
    return [
        {
            "entry": entry,
            "arm": colours.get(entry.candidate.arm),
            "bar": interval_bar(entry.difference.mean) if entry.verdict.word != "reference" else None,
            "beats": beats[entry.beats_controls],
            "best": entry.quality["psnr_db/mean"] == best,
            "metrics": entry.candidate.metrics,
        }
        for entry in assessments
    ]


def devices(assessments: Sequence[Assessment]) -> list[tuple[str, list[str]]]:
    """What the tickets were trained on, as far as it is known, and which on what."""
    found: dict[str, list[str]] = {}
    for entry in assessments:
        if entry.candidate.device:
            found.setdefault(entry.candidate.device, []).append(entry.candidate.name)
    return list(found.items())


def interval_bar(interval: Interval) -> dict[str, float]:
    """Where low, mean and high stand in a bar from -1.5 to +1.5 dB, in percent of its width."""
    places = {"low": interval.low_db, "mean": interval.mean_db, "high": interval.high_db}
    return {name: 50 + 50 * max(-1.0, min(1.0, value / _SPAN_DB)) for name, value in places.items()}


def panels(assessments: Sequence[Assessment], rule: RuleSection) -> list[Markup]:
    """PSNR against density: the mean, then each task."""
    reference = _reference(assessments, rule)
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
            for points in [tickets(assessments, arm, rule)]
        ]
        title = "mean over tasks" if task == "mean" else task
        lines = (reference.quality[f"psnr_db/{task}"], reference.quality[f"input_psnr_db/{task}"])
        drawn.append(Markup(figures.against_density(title, shown, *lines)))
    return drawn


def heat(assessments: Sequence[Assessment], rule: RuleSection) -> dict[str, Any]:
    """Density of each layer in each round: columns by arm, and per layer a line of (density, shade)."""
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


def pictures(
    assessments: Sequence[Assessment], decision: Mapping[str, Any], rule: RuleSection
) -> dict[str, Any]:
    """Each picture's input, dense, ticket and clean as data URIs; of the promoted ticket, or the best one."""
    reference = _reference(assessments, rule)
    shown = next((entry for entry in assessments if entry.candidate.name == decision["ticket"]), None)
    if shown is None:
        mine = [
            e
            for e in assessments
            if e.candidate.role == "candidate" and not e.collapsed and e.candidate.pictures
        ]
        shown = max(mine, key=lambda entry: entry.quality["psnr_db/mean"], default=reference)
    before = {(picture.task, picture.image): picture for picture in reference.candidate.pictures}
    cards = []
    for picture in shown.candidate.pictures:
        dense = before.get((picture.task, picture.image))
        layers = {"input": picture.input_HWC, "ticket": picture.output_HWC, "clean": picture.clean_HWC}
        if dense is not None and shown is not reference:
            layers["dense"] = dense.output_HWC
        cards.append(_card(picture, layers, [("dense", reference), ("ticket", shown)], rule))
    return {"ticket": shown.candidate.name, "cards": cards}


def training(assessments: Sequence[Assessment], rule: RuleSection) -> list[Markup]:
    """The training curves: the reference, then one panel an arm."""
    reference = _reference(assessments, rule)
    groups: list[tuple[str, int | None, list[Assessment]]] = [(rule.reference, None, [reference])]
    groups += [
        (arm.name, arm.colour, [entry for entry in tickets(assessments, arm, rule) if entry is not reference])
        for arm in arms(assessments, rule)
    ]
    drawn = []
    for title, colour, entries in groups:
        own = [(e.candidate.name, e.candidate.history) for e in entries]
        histories = [(name, history) for name, history in own if history is not None and len(history)]
        if histories:
            drawn.append(Markup(figures.training(title, histories, colour)))
    return drawn


def _reference(assessments: Sequence[Assessment], rule: RuleSection) -> Assessment:
    return next(entry for entry in assessments if entry.candidate.name == rule.reference)


def _of_task(key: str) -> bool:
    return key.startswith("psnr_db/") and not key.endswith("/mean")


def _shade(density: float | None) -> float:
    """In 0..100: 0 for a density of 1/1000 and less, 100 for a dense layer, logarithmic between."""
    return 0.0 if not density else float(np.clip(100 + 100 * np.log10(density) / 3, 0, 100))


def _card(
    picture: ExamplePicture,
    layers: Mapping[str, np.ndarray],
    entries: Sequence[tuple[str, Assessment]],
    rule: RuleSection,
) -> dict[str, Any]:
    figures_of = {}
    for layer, entry in entries:
        scores = entry.candidate.scores
        row = scores.query("protocol == @rule.protocol and task == @picture.task and image == @picture.image")
        if len(row) and layer in layers:
            figures_of[layer] = f"{row['psnr_db'].iloc[0]:.2f} dB"
            figures_of["input"] = f"{row['input_psnr_db'].iloc[0]:.2f} dB"
    height, width = picture.input_HWC.shape[:2]
    uris = {name: _data_uri(image) for name, image in layers.items()}
    return {
        "task": picture.task,
        "image": picture.image,
        "uris": uris,
        "psnr": figures_of,
        "ratio": f"{width} / {height}",
    }


def _data_uri(image_HWC: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(image_HWC).save(stream, format="WEBP", quality=90, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
