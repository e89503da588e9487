"""Figures of the interaction report: parts with intervals, and what each subset says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from commlearn.plot.decomposition import bars_height, information, whisker
from commlearn.plot.style import INK, as_list, joined, legible, modality_colours, side_by_side, styled

MOST = 6  # pairs that are drawn if there are many modalities


@styled
def interaction_figure(values: Mapping[str, Any], path: str | Path | None = None) -> Figure:
    """Draw the parts in every view on the left, and information and accuracy of every subset on the right.

    Args:
        values: values of an interaction report, as its `to_dict` returns them.
        path: file to write; its extension determines the format.
    """
    ladder = values["views"]["data"]["ladder"]
    figure, (left, right) = side_by_side([bars_height(values), 0.9 + 0.27 * len(ladder)], 12, 0.6)
    title = f"{legible(values['target'], 80)}: {values['records']:,} records"
    figure.suptitle(f"{title}\n{fill(values['verdict'], 130)}", x=0.01, ha="left", fontsize=9, color=INK)
    information(values, left)
    _draw_ladder(right, values)
    return _write(figure, path)


@styled
def pairs_figure(values: Mapping[str, Any], path: str | Path | None = None) -> Figure:
    """Draw the parts of the six most informative pairs of many modalities, the most informative at the top.

    Args:
        values: values of the report of pairs, as its `to_dict` returns them.
        path: file to write; its extension determines the format.
    """
    best = sorted(values["pairs"], key=lambda pair: -pair["total"]["bits"])[:MOST]
    best_values = {**values, "pairs": best}
    figure, (axes,) = side_by_side([bars_height(best_values)], 8)
    information(best_values, axes)
    omitted = len(values["pairs"]) - len(best)
    note = f" (the {len(best)} most informative of {len(values['pairs'])})" if omitted else ""
    axes.set_title(f"{legible(values['target'])}, pair by pair{note}: {values['records']:,} records")
    return _write(figure, path)


def _write(figure: Figure, path: str | Path | None) -> Figure:
    FigureCanvasAgg(figure)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _draw_ladder(axes: Axes, values: Mapping[str, Any]) -> None:
    """Draw the information that each subset provides, and how often its prediction is right."""
    ladder = values["views"]["data"]["ladder"]
    names = ["+".join(rung["modalities"]) for rung in ladder]
    colours = modality_colours(names)
    for position, (name, rung) in enumerate(zip(names, ladder, strict=True)):
        axes.barh(position, rung["bits"], 0.62, color=colours.get(name, INK), alpha=0.6)
        whisker(axes, position, rung)
        text = f"{100 * rung['accuracy']:.0f} % correct"
        axes.annotate(text, (1.02, position), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    as_list(axes, [joined(name, list(colours)) for name in names])
    axes.axvline(values["entropy"], color=INK, linestyle=":")
    axes.set_xlabel("bits each provides (dotted: certainty)")
    axes.set_xlim(0, 1.04 * values["entropy"])
