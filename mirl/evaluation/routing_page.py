"""Page of routing by difficulty beside its bounds, self-contained."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from mirl.evaluation import figures
from mirl.evaluation.cards import data_uri
from mirl.evaluation.report import render
from mirl.evaluation.routing import (
    BOUNDS,
    PATCHES,
    ROUTER,
    STATIC,
    Grid,
    Key,
    Picture,
    levels_of,
    points,
    summary,
)

WAYS = dict(zip((ROUTER, *BOUNDS, STATIC), "o^vxs", strict=True))
"""Way of restoring -> the marker of its line; their order is that of the colours."""
MARKERS = {"D": "◆", "P": "✚", "*": "★", "p": "⬟", "h": "⬢", "X": "✖"}
"""Markers of the tickets without a router, as matplotlib and as a reader names them."""
SHOWN = (ROUTER, "oracle")
"""Ways whose levels are drawn over the pictures."""
PICTURE_SIDE = 360
"""Longest side of a picture in pixels; larger ones are made smaller."""
AXES = {"work": "share of the dense network's work", "seconds": "seconds for an image, median"}


def page(frame: pd.DataFrame, pictures: Sequence[Picture], levels: Mapping[Key, Grid], title: str) -> str:
    """Return the page of a measurement as HTML that needs no other file; the same values give the same bytes."""
    found, table = points(frame), summary(frame)
    routed = list(dict.fromkeys(frame.loc[frame["way"] == ROUTER, "ticket"]))
    others = [ticket for ticket in dict.fromkeys(frame["ticket"]) if ticket not in routed]
    markers = {ticket: list(MARKERS)[place % len(MARKERS)] for place, ticket in enumerate(others)}
    sections = []
    for ticket in routed:
        names, own = levels_of(frame, ticket), found[found["ticket"].isin([ticket, *others])]
        budgets = list(
            dict.fromkeys(found.loc[(found["ticket"] == ticket) & (found["way"] == ROUTER), "budget"])
        )
        sections.append({
            "ticket": ticket,
            "levels": [(name, _shade(level, len(names))) for level, name in enumerate(names)],
            "charts": {axis: _charts(own, ticket, markers, axis) for axis in AXES},
            "table": table[table["ticket"].isin([ticket, *others])].to_dict("records"),
            "bars": [(budget, list(_bars(own, ticket, budget, names))) for budget in budgets],
            "overlays": [
                [
                    (way, budget, _boxes(levels[Key(ticket, way, budget, picture.task, picture.image)], len(names)))
                    for way in SHOWN
                    for budget in budgets
                ]
                for picture in pictures
            ],
        })  # fmt: skip
    return render(
        "routing.html.j2",
        title=title,
        protocol=frame["protocol"].iloc[0],
        tasks=list(dict.fromkeys(found["task"])),
        ways=list(WAYS),
        shown=len(SHOWN),
        others=[(ticket, MARKERS[marker]) for ticket, marker in markers.items()],
        sha256=dict(zip(frame["ticket"], frame["sha256"])),
        sections=sections,
        pictures=[_picture(picture) for picture in pictures],
        images=frame.groupby("task", sort=False)["image"].nunique().to_dict(),
    )


def _charts(found: pd.DataFrame, ticket: str, markers: Mapping[str, str], axis: str) -> list[Markup]:
    """Draw a panel for the mean and for each task."""
    panels = []
    for task, rows in found.groupby("task", sort=False):
        own = rows[rows["ticket"] == ticket]
        traces = [
            _trace(own[own["way"] == way].sort_values("budget"), axis, marker, colour)
            for colour, (way, marker) in enumerate(WAYS.items())
        ]
        traces += [
            _trace(rows[rows["ticket"] == other], axis, marker, None) for other, marker in markers.items()
        ]
        panels.append(Markup(figures.against(str(task), AXES[axis], traces)))
    return panels


def _trace(rows: pd.DataFrame, axis: str, marker: str, colour: int | None) -> figures.Trace:
    return figures.Trace(
        colour=colour, marker=marker, x=rows[axis].tolist(), psnr_db=rows["psnr_db"].tolist()
    )


def _bars(
    found: pd.DataFrame, ticket: str, budget: float, names: Sequence[str]
) -> Iterator[tuple[str, list[tuple[str, float, str]]]]:
    """Yield for each task the levels of the router's patches: (name, share, shade)."""
    rows = found[(found["ticket"] == ticket) & (found["way"] == ROUTER) & (found["budget"] == budget)]
    for row in rows.to_dict("records"):
        parts = [(name, row[PATCHES + name], _shade(level, len(names))) for level, name in enumerate(names)]
        yield row["task"], parts


def _boxes(grid: Grid, count: int) -> list[tuple[int, int, int, int, str]]:
    """Return (left, top, width, height, shade) of the patches, those of one level beside each other as one."""
    return [
        (left * grid.side, row * grid.side, width * grid.side, grid.side, _shade(level, count))
        for row, level_Q in enumerate(grid.level_RQ.tolist())
        for left, width, level in _runs(level_Q)
    ]


def _runs(level_Q: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (first, length, level) of each run of one level."""
    first = 0
    for level, run in groupby(level_Q):
        length = len(list(run))
        yield first, length, level
        first += length


def _shade(level: int, count: int) -> str:
    """Return the place of a level between the least work and the most, in percent."""
    return f"{100 * level / (count - 1):.0f}%"


def _picture(picture: Picture) -> dict[str, Any]:
    height, width = picture.input_HWC.shape[:2]
    small = Image.fromarray(picture.input_HWC)
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    return {
        "task": picture.task,
        "image": picture.image,
        "height": height,
        "width": width,
        "uri": data_uri(np.asarray(small)),
    }
