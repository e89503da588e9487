"""The interaction report as a picture: parts with intervals, and what each subset says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from commlearn.plot.decomposition import information
from commlearn.plot.style import COLOURS, INK, QUIET, TICK, Picture, legible, styled

__all__ = ["interaction_figure", "pair_views", "pairs_figure"]

_VIEWS = {
    "data": COLOURS[0],
    "linear": COLOURS[1],
    "representation": COLOURS[2],
    "raw": COLOURS[4],
    "model": COLOURS[3],
}
_READERS = {
    "data": "best experts",
    "linear": "a linear probe of them side by side",
    "representation": "a linear probe of the model's embedding",
    "raw": "best experts on the raw columns",
    "model": "the model's own predictions",
}


@styled
def interaction_figure(values: Mapping[str, Any], path: str | Path | None = None) -> Figure:
    """Parts as every view sees them on the left, information and accuracy of every subset on the right.

    Args:
        values: of an interaction report, as its `to_dict` gives them.
        path: where to write it; the ending says the format.
    """
    data = values["views"]["data"]
    figure = Picture(
        figsize=(11, 2.2 + 0.36 * max(len(_parts(data)), len(data["ladder"]), 4)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    title = f"{legible(values['target'])}: {values['records']:,} records"
    figure.suptitle(f"{title}\n{fill(values['verdict'], 130)}", x=0.01, ha="left", fontsize=9, color=INK)
    _draw_parts(left, values["views"])
    _draw_ladder(right, values)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


@styled
def pairs_figure(values: Mapping[str, Any], path: str | Path | None = None) -> Figure:
    """A stacked bar for each pair of many modalities, the pair that knows most at the top.

    Args:
        values: of the report of pairs, as its `to_dict` gives them.
        path: where to write it; the ending says the format.
    """
    figure = Picture(figsize=(9, 2 + 0.36 * len(values["pairs"])), layout="constrained")
    FigureCanvasAgg(figure)
    axes = information({"views": pair_views(values)}, figure.subplots())
    axes.set_title(f"{legible(values['target'])}, pair by pair: {values['records']:,} records")
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def pair_views(values: Mapping[str, Any]) -> dict[str, Any]:
    """Pairs of many modalities as views of two, the one that knows most first."""
    pairs = sorted(values["pairs"], key=lambda pair: -pair["total"]["bits"])
    sides = {"first": ["the first"], "second": ["the second"]}
    return {pair["name"]: {"pairs": [{**pair, **sides}], "spectrum": [None, None]} for pair in pairs}


def _parts(view: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parts that sum to the total: atoms of two modalities, or unique, shared by several and by order."""
    if len(view["spectrum"]) == 2:
        pair = view["pairs"][0]
        return {
            "both say it": pair["redundant"],
            f"only {'+'.join(pair['first'])}": pair["unique1"],
            f"only {'+'.join(pair['second'])}": pair["unique2"],
            "only together": pair["synergistic"],
        }
    parts = {"several say it": view["non_exclusive"]}
    parts |= {f"only {name}": part for name, part in view["unique"].items()}
    return parts | {f"only {order} together": part for order, part in enumerate(view["spectrum"][1:], 2)}


def _draw_parts(axes: Axes, views: Mapping[str, Any]) -> None:
    high = 0.8 / len(views)
    for number, (name, view) in enumerate(views.items()):
        parts = _parts(view)
        places = np.arange(len(parts))[::-1] - (number - (len(views) - 1) / 2) * high
        _bars(axes, places, list(parts.values()), high * 0.86, _VIEWS[name], label=_READERS[name])
        axes.set_yticks(np.arange(len(parts))[::-1], [legible(part, TICK) for part in parts])
    axes.set_xlabel("bits")
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    if len(views) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)


def _draw_ladder(axes: Axes, values: Mapping[str, Any]) -> None:
    ladder = values["views"]["data"]["ladder"]
    places = np.arange(len(ladder))[::-1]
    _bars(axes, places, ladder, 0.6, _VIEWS["data"])
    axes.axvline(values["entropy"], color=INK, linestyle=":")
    top = (values["entropy"], len(ladder) - 0.5)
    axes.annotate("certainty", top, ha="right", va="bottom", fontsize=8, annotation_clip=False)
    beside = ("axes fraction", "data")
    for place, rung in zip(places, ladder, strict=True):
        text = f"{100 * rung['accuracy']:.0f} % right"
        axes.annotate(text, (1.02, place), xycoords=beside, va="center", fontsize=8, color=QUIET)
    axes.set_yticks(places, [legible(" + ".join(rung["modalities"]), TICK) for rung in ladder])
    axes.set_xlabel("bits that each subset says")
    axes.set_xlim(0, 1.04 * values["entropy"])
    axes.set_ylim(-0.5, len(ladder) - 0.5)
    axes.grid(axis="y", visible=False)


def _bars(axes: Axes, places: np.ndarray, parts: list[Any], high: float, colour: str, **look: Any) -> None:
    """Bars with intervals; an open end is an arrow."""
    axes.barh(places, [part["bits"] for part in parts], high, color=colour, alpha=0.85, **look)
    for place, part in zip(places, parts, strict=True):
        end = part["bits"] if part["growing"] else part["high"]
        axes.plot([part["low"], max(end, part["low"])], [place] * 2, "|-", color=INK, lw=1, ms=4)
        if part["growing"]:
            axes.plot(part["bits"], place, ">", color=INK, ms=4)
