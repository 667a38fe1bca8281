"""Before-and-after pictures of the report's page."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mirl.evaluation.comparison import Assessment
from mirl.evaluation.scoring import ExamplePicture
from mirl.evaluation.views import references_of
from mirl.evaluation.winning import RuleSection


def pictures(
    assessments: Sequence[Assessment], decision: Mapping[str, Any], rule: RuleSection
) -> dict[str, Any]:
    """Return each picture's input, dense, ticket and clean versions as data URIs.

    The ticket is the promoted one, or the best one if none is promoted.
    """
    references = {entry.candidate.name: entry for entry in references_of(assessments, rule)}
    first = next(iter(references.values()))
    shown = next((entry for entry in assessments if entry.candidate.name == decision["ticket"]), None)
    if shown is None:
        mine = [
            e
            for e in assessments
            if e.candidate.role == "candidate" and not (e.collapsed or e.partial) and e.candidate.pictures
        ]
        shown = max(mine, key=lambda entry: entry.quality["psnr_db/mean"], default=first)
    before = {
        (name, picture.task, picture.image): picture
        for name, entry in references.items()
        for picture in entry.candidate.pictures
    }
    cards = []
    for picture in shown.candidate.pictures:
        reference = references.get(rule.reference_of(picture.task) or "", first)
        dense = before.get((reference.candidate.name, picture.task, picture.image))
        layers = {"input": picture.input_HWC, "ticket": picture.output_HWC, "clean": picture.clean_HWC}
        if dense is not None and shown is not reference:
            layers["dense"] = dense.output_HWC
        cards.append(_card(picture, layers, [("dense", reference), ("ticket", shown)], rule))
    return {"ticket": shown.candidate.name, "cards": cards}


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
    uris = {name: data_uri(image) for name, image in layers.items()}
    return {
        "task": picture.task,
        "image": picture.image,
        "uris": uris,
        "psnr": figures_of,
        "ratio": f"{width} / {height}",
    }


def data_uri(image_HWC: np.ndarray) -> str:
    """Return a uint8 picture as a data URI, in WebP."""
    stream = io.BytesIO()
    Image.fromarray(image_HWC).save(stream, format="WEBP", quality=90, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
