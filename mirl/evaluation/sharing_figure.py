"""Picture of who uses whose weights: a table of requirements by owners, and below it every layer as bars.

The drawing is one SVG, for the report, whose colours it takes, and for viewers of pictures alone.
"""

from collections.abc import Mapping
from html import escape

from mirl.evaluation.figures import PALETTE
from mirl.sparsity.sharing import Sharing

LIGHT = {
    **{f"--arm-{place}": colour for place, colour in enumerate(
        ("#1f6feb", "#d9480f", "#8250df", "#0f8f86", "#bf3989", "#7d6b00")
    )},
    "--ink": "#1d2127", "--muted": "#667080", "--line": "#e4e5e1", "--card": "#ffffff",
}  # fmt: skip
"""Variable of the pages' style -> its colour where no page gives one: that of the light theme."""
_ROW, _COLUMN, _GAP, _LETTER, _PAD = 16, 120, 14, 6.6, 12
"""Height of a row, width of a column, space between columns, mean width of a letter, and space around, in pixels."""


def draw(title: str, sharing: Sharing) -> str:
    """Draw the sharing of a ticket's requirements, its masks, as SVG.

    In the table rows are requirements and columns owners: the share of all prunable weights. Below it a bar stands for all
    weights of a layer, and its colours for the owners of those that the requirement of the column uses; the last column
    shows all owners, and by what is empty what is free.
    """
    names = list(sharing.uses)
    longest = max(map(len, [*sharing.layers, *names]))
    left = _PAD + _LETTER * longest + _GAP
    width = left + (len(names) + 1) * (_COLUMN + _GAP) + _PAD
    table_top = 3 * _ROW
    layers_top = table_top + (len(names) + 4) * _ROW
    height = layers_top + len(sharing.layers) * _ROW + _PAD
    edges = [left + place * (_COLUMN + _GAP) for place in range(len(names) + 1)]
    parts = [
        _heads("owned by", edges, [*names, "in all"], table_top - 10),
        *_table(sharing, edges, table_top),
        _heads("used by", edges, [*names, "owners"], layers_top - 10),
        *(_layer(sharing, layer, edges, layers_top + row * _ROW) for row, layer in enumerate(sharing.layers)),
    ]
    free = f"{title}: {_percent(sharing.free, sharing.total)} of the prunable weights are free"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}: who uses whose weights" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" font-size="11" '
        f'font-family="system-ui, sans-serif" fill="{_paint("--ink")}">'
        f'<rect width="100%" height="100%" fill="{_paint("--card")}"/>'
        f"{_text(_PAD, 16, free, weight=600)}{''.join(parts)}</svg>\n"
    )


def _heads(what: str, edges: list[float], names: list[str], base: float) -> str:
    """Return a line of column heads; those of requirements have a dot in their colour."""
    parts = [_text(_PAD, base, what, colour="--muted")]
    for place, (left, name) in enumerate(zip(edges, names)):
        own = place < len(names) - 1
        dot = (
            f'<circle cx="{left + 4:.1f}" cy="{base - 4:.1f}" r="4" fill="{_colour(place)}"/>' if own else ""
        )
        parts.append(dot + _text(left + 12 * own, base, _short(name), weight=600))
    return "".join(parts)


def _table(sharing: Sharing, edges: list[float], top: float) -> list[str]:
    parts = []
    for row, user in enumerate(sharing.uses):
        base = top + row * _ROW + 12
        used = sharing.used(user)
        parts.append(_text(_PAD, base, user))
        for left, (owner, count) in zip(edges, used.items()):
            hint = f"{user} uses {count:,} of {sharing.used(owner)[owner]:,} weights of {owner}"
            parts.append(_cell(hint, _text(left, base, _percent(count, sharing.total))))
        parts.append(_text(edges[-1], base, _percent(sum(used.values()), sharing.total)))
    return parts


def _layer(sharing: Sharing, layer: str, edges: list[float], top: float) -> str:
    total, names = sharing.layers[layer], list(sharing.uses)
    bars = [{owner: own[layer] for owner, own in sharing.uses[user].items()} for user in names]
    bars.append({owner: sharing.own(owner, layer) for owner in names})
    heads = [*names, "owners"]
    drawn = [_bar(f"{head}, {layer}", bar, total, left, top) for head, bar, left in zip(heads, bars, edges)]
    return _text(_PAD, top + 11, layer.removesuffix(".weight"), colour="--muted") + "".join(drawn)


def _bar(what: str, counts: Mapping[str, int], total: int, left: float, top: float) -> str:
    """Draw one bar; the owners come in the order of the requirements, and what is left of the bar is empty."""
    said = ", ".join(f"{owner} {_percent(count, total)}" for owner, count in counts.items())
    parts = [_rect(left, top, _COLUMN, _paint("--line"))]
    at = left
    for place, count in enumerate(counts.values()):
        if count:
            parts.append(_rect(at, top, _COLUMN * count / total, _colour(place)))
        at += _COLUMN * count / total
    return _cell(f"{what}: {said}", "".join(parts))


def _cell(hint: str, drawn: str) -> str:
    return f"<g><title>{escape(hint)}</title>{drawn}</g>"


def _rect(left: float, top: float, width: float, fill: str) -> str:
    return f'<rect x="{left:.2f}" y="{top + 2:.1f}" width="{width:.2f}" height="{_ROW - 4}" fill="{fill}"/>'


def _text(left: float, base: float, words: str, colour: str = "--ink", weight: int = 400) -> str:
    return (
        f'<text x="{left:.1f}" y="{base:.1f}" font-weight="{weight}" fill="{_paint(colour)}">'
        f"{escape(words)}</text>"
    )


def _short(name: str) -> str:
    """Return a name that fits into a column."""
    most = int((_COLUMN - _GAP) / _LETTER)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _colour(place: int) -> str:
    return _paint(f"--arm-{place % PALETTE}")


def _paint(variable: str) -> str:
    return f"var({variable}, {LIGHT[variable]})"


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"
