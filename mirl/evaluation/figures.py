"""Drawings of the report: matplotlib figures as inline SVG, in the colours of the page's light or dark theme."""

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from mirl.records import TERM

PALETTE = 6
"""Number of arm colours that the page defines; further arms start again from the first."""

# matplotlib only knows fixed colours: these stand for the page's CSS variables, which are put in afterwards.
_INK, _MUTED, _GRID, _DENSE = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
_ARMS = [f"#0a0b1{index}" for index in range(PALETTE)]
_VARIABLES = {_INK: "--ink", _MUTED: "--muted", _GRID: "--line", _DENSE: "--dense"} | {
    colour: f"--arm-{index}" for index, colour in enumerate(_ARMS)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mirl",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "grid.color": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The tickets of one arm, from dense to sparse."""

    arm: str
    colour: int
    """Index of the arm's colour."""
    control: bool
    densities: Sequence[float]
    values: Sequence[float]
    collapsed: Sequence[bool]


@dataclass(frozen=True, kw_only=True)
class Line:
    """The PSNR of one ticket at each value of a severity."""

    label: str
    colour: int
    """Index of the ticket's colour."""
    psnr_db: Sequence[float]
    useless: Sequence[bool]
    """True for each value at which the ticket gains so little that the point is drawn as a cross."""


@dataclass(frozen=True, kw_only=True)
class SeverityAxis:
    """Axis of a panel: the values of the severity that its lines are drawn against."""

    label: str
    values: Sequence[float]
    trained: tuple[float, float] | None
    """Ends of the trained range; None if they are not known."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """PSNR of one way of restoring, from its cheapest point to its dearest, or of one ticket."""

    colour: int | None
    """Index of its colour; None: that of the dense ticket."""
    marker: str
    """As matplotlib names it."""
    x: Sequence[float]
    psnr_db: Sequence[float]


def against_density(title: str, curves: Sequence[Curve], dense: float, degraded: float) -> str:
    """Draw PSNR in dB against density (log axis, sparser to the right): one panel with dense and input lines."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.0, 2.9), layout="constrained")
        axes = figure.add_subplot()
        _panel(axes, title)
        low, high = _range(dense, curves)
        axes.axhline(dense, color=_DENSE, linewidth=1.2, zorder=1)
        _label(axes, dense, f"dense {dense:.2f}", _DENSE)
        if low - 0.5 * (high - low) <= degraded <= high:
            low = min(low, degraded - 0.08 * (high - low))
            axes.axhline(degraded, color=_MUTED, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
            _label(axes, degraded, f"input {degraded:.2f}", _MUTED)
        else:
            text, place = f"input {degraded:.2f} ↓", (0.015, 0.03)
            if degraded > high:  # nothing has been learned
                text, place = f"input {degraded:.2f} ↑", (0.015, 0.92)
            axes.text(*place, text, transform=axes.transAxes, color=_MUTED, size=8)
        for curve in curves:
            _draw(axes, curve, low)
        axes.set_ylim(low, high)
        _density_axis(axes, [density for curve in curves for density in curve.densities])
        return _svg(figure, f"{title}: PSNR in dB against density")


def training(title: str, curves: Sequence[tuple[str, pd.DataFrame]], colour: int | None) -> str:
    """Draw training loss (log axis) against steps of one arm's tickets; later rounds in stronger colour.

    The terms of a loss with several terms are dashed, the first in dots, as far as their values are above 0.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.0, 2.5), layout="constrained")
        axes = figure.add_subplot()
        _panel(axes, title)
        for index, (name, history) in enumerate(curves):
            strength = 0.3 + 0.7 * (index + 1) / len(curves)
            smooth = history["loss"].rolling(max(len(history) // 40, 1), min_periods=1, center=True).mean()
            line_colour = _DENSE if colour is None else _ARMS[colour]
            axes.plot(history["step"], smooth, color=line_colour, alpha=strength, linewidth=1.2, label=name)
            for number, term in enumerate(column for column in history.columns if column.startswith(TERM)):
                dashes = (0, (1 + number, 2))
                label = f"{name}: {term.removeprefix(TERM)}"
                axes.plot(history["step"], history[term].where(history[term] > 0), color=line_colour,
                          alpha=strength, linewidth=0.9, linestyle=dashes, label=label)  # fmt: skip
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if _leads(value, (2, 3, 5)) else "")
        )
        axes.tick_params(which="minor", length=0)
        axes.set_xlabel("step")
        return _svg(figure, f"{title}: training loss against steps")


def against_severity(title: str, axis: SeverityAxis, inputs: Sequence[float], lines: Sequence[Line]) -> str:
    """Draw PSNR in dB of the input and of tickets against the strength of the damage: one panel."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.0, 2.9), layout="constrained")
        axes = figure.add_subplot()
        _panel(axes, title)
        if axis.trained and axis.trained[0] == axis.trained[1]:
            axes.axvline(axis.trained[0], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        elif axis.trained:
            axes.axvspan(*axis.trained, color=_GRID, alpha=0.6, linewidth=0, zorder=0)
        axes.plot(axis.values, inputs, color=_MUTED, linewidth=1.2, linestyle=(0, (1, 2)), zorder=2)
        for line in lines:
            colour = _ARMS[line.colour]
            axes.plot(axis.values, line.psnr_db, color=colour, linewidth=1.8, zorder=3)
            for value, psnr_db, useless in zip(axis.values, line.psnr_db, line.useless):
                marker, size = ("x", 6.0) if useless else ("o", 3.0)
                axes.plot([value], [psnr_db], marker=marker, markersize=size, color=colour, zorder=4)
        axes.set_xlabel(axis.label)
        return _svg(figure, f"{title}: PSNR in dB against {axis.label}")


def against(title: str, label: str, traces: Sequence[Trace]) -> str:
    """Draw PSNR in dB of several traces against what `label` names: one panel."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.0, 2.9), layout="constrained")
        axes = figure.add_subplot()
        _panel(axes, title)
        for trace in traces:
            colour = _DENSE if trace.colour is None else _ARMS[trace.colour]
            axes.plot(trace.x, trace.psnr_db, color=colour, linewidth=1.6, marker=trace.marker,
                      markersize=4.0 if len(trace.x) > 1 else 6.0, alpha=0.85, zorder=3)  # fmt: skip
        axes.set_xlim(left=0)
        axes.set_xlabel(label)
        return _svg(figure, f"{title}: PSNR in dB against {label}")


def _panel(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=_INK)
    axes.grid(True, axis="y", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _draw(axes: Axes, curve: Curve, low: float) -> None:
    """Draw a curve; a point below the panel stands on the panel's lower edge, with its value."""
    colour = _ARMS[curve.colour]
    style = (0, (4, 2)) if curve.control else "solid"
    width = 1.1 if curve.control else 1.8
    axes.plot(curve.densities, curve.values, color=colour, linewidth=width, linestyle=style, zorder=3)
    for density, value, collapsed in zip(curve.densities, curve.values, curve.collapsed):
        marker, size = ("x", 6.0) if collapsed else ("s" if curve.control else "o", 4.0)
        place = max(value, low)
        axes.plot(
            [density], [place], marker=marker, markersize=size, color=colour, markeredgewidth=1.6,
            zorder=4, clip_on=False,
        )  # fmt: skip
        if value < low:
            axes.annotate(
                f"{value:.1f}", (density, place), xytext=(-4, 5), textcoords="offset points", ha="right",
                color=colour, size=8,
            )  # fmt: skip


def _range(dense: float, curves: Sequence[Curve]) -> tuple[float, float]:
    """Return limits around everything that did not collapse; controls lower them at most by the others' span."""
    points = [
        (curve, value) for curve in curves for value, gone in zip(curve.values, curve.collapsed) if not gone
    ]
    own = [dense, *(value for curve, value in points if not curve.control)]
    every = [dense, *(value for _, value in points)]
    span = max(max(own) - min(own), 0.4)
    low, high = max(min(every), min(own) - span), max(every)
    margin = 0.12 * max(high - low, 0.4)
    return low - margin, high + margin


def _label(axes: Axes, height: float, text: str, colour: str) -> None:
    axes.annotate(
        text, (1, height), xycoords=("axes fraction", "data"), xytext=(-2, 3), textcoords="offset points",
        ha="right", color=colour, size=8, zorder=5,
    )  # fmt: skip


def _density_axis(axes: Axes, densities: Sequence[float]) -> None:
    lowest = min(densities, default=0.1)
    ticks = [
        tick for tick in (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001) if tick >= lowest * 0.8
    ]
    axes.set_xscale("log")
    axes.set_xlim(1.12, lowest * 0.8)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def _leads(value: float, digits: Sequence[int]) -> bool:
    return value > 0 and int(f"{value:e}"[0]) in digits


def _svg(figure: Figure, description: str) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = _themed(text, _VARIABLES)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1)


def _themed(svg: str, variables: Mapping[str, str]) -> str:
    for colour, variable in variables.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
