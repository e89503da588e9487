"""The report as a picture: parts with intervals, and the ladder of subsets."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from commlearn.information.estimate import subset_name
from commlearn.information.uncertainty import Known
from commlearn.information.views import View

if TYPE_CHECKING:
    from commlearn.information.report import InteractionReport

__all__ = ["draw", "parts_of"]

_COLOURS = {
    "data": "#0072B2",
    "linear": "#E69F00",
    "representation": "#009E73",
    "raw": "#56B4E9",
    "model": "#CC79A7",
}


def draw(report: InteractionReport, path: str | Path | None = None) -> Figure:
    """Parts of every view on the left, information and accuracy of every subset on the right.

    Args:
        report: what to show.
        path: where to write it; the ending says the format.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_parts(left, report.views)
    left.set_title(f"'{report.target.name}', {report.records} records", loc="left")
    figure.suptitle(fill(report.verdict, 120), x=0.01, ha="left", fontsize=9)
    _draw_ladder(right, report)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def parts_of(view: View) -> dict[str, Known]:
    """The parts that sum to the total: atoms of two modalities, or unique, non-exclusive and by order."""
    if len(view.spectrum) == 2:
        pair = view.pairs[0]
        return {
            "shared": pair.redundant,
            f"only {subset_name(pair.first)}": pair.unique1,
            f"only {subset_name(pair.second)}": pair.unique2,
            "synergy": pair.synergistic,
        }
    parts = {"carried by\nseveral": view.non_exclusive}
    parts |= {f"only {name}": part for name, part in view.unique.items()}
    return parts | {f"by {order}\ntogether": part for order, part in enumerate(view.spectrum[1:], 2)}


def _draw_parts(axes: Axes, views: dict[str, View]) -> None:
    wide = 0.8 / len(views)
    for number, (name, view) in enumerate(views.items()):
        parts = parts_of(view)
        places = np.arange(len(parts)) + (number - (len(views) - 1) / 2) * wide
        bits = np.array([part.bits for part in parts.values()])
        below = np.array([max(part.bits - part.low, 0) for part in parts.values()])
        above = np.array([max(part.high - part.bits, 0) for part in parts.values()])
        axes.bar(places, bits, wide * 0.9, yerr=[below, above], color=_COLOURS[name], label=name.upper())
        axes.set_xticks(np.arange(len(parts)), list(parts))
    axes.set_ylabel("bits")
    if len(views) > 1:
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.08), ncols=len(views))


def _draw_ladder(axes: Axes, report: InteractionReport) -> None:
    ladder = report.data.ladder
    places = np.arange(len(ladder))[::-1]
    bits = [value.bits for value in ladder.values()]
    ends = [[max(value.bits - value.low, 0) for value in ladder.values()]]
    ends += [[max(value.high - value.bits, 0) for value in ladder.values()]]
    axes.barh(places, bits, xerr=ends, color=_COLOURS["data"], ecolor="0.6")
    axes.axvline(report.entropy, color="black", linestyle=":", label="certainty, H(Y)")
    for place, (subset, value) in zip(places, ladder.items(), strict=True):
        axes.text(
            0,
            place,
            f" {100 * report.data.accuracy[subset]:.0f} % right",
            va="center",
            fontsize=8,
            color="white" if value.bits > 0.3 * report.entropy else "black",
        )
    axes.set_yticks(places, [subset_name(subset) for subset in ladder])
    axes.set_xlabel("bits, and share of records that are right")
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0))
