"""Charts of comparisons, drawn by matplotlib without needing a display."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from commlearn.plot.style import COLOURS, as_list, legible, styled

ROLES = {
    "method": (COLOURS[0], "learned without labels"),
    "method with labels": (COLOURS[3], "learned with labels"),
    "baseline": ("#999999", "a simple baseline"),
    "floor": ("#CCCCCC", "expected minimum"),
    "ceiling": (COLOURS[1], "expected maximum"),
}
"""Colour and description of each role that a member can have."""
TICKS = (0, 25, 50, 75, 100)  # percent
NAME = 34  # characters of a name, at most
ROOM = 38  # percent: length from which a bar has room for its value


@styled
def comparison_chart(table: dict[str, Any], path: Path) -> None:
    """Write a chart: a panel per score, a bar with its value per method; published values are diamonds."""
    rows, scores = table["methods"], list(table["scores"])
    labels = [f"{legible(name, NAME)}\n{ROLES[row['role']][1]}" for name, row in rows.items()]
    size = (2.4 + 0.05 * max(map(len, labels)) + 2.6 * len(scores), 1.5 + 0.42 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axes, score in zip(panels, scores, strict=True):
        _panel(axes, table, score)
    as_list(panels[0], labels)
    figure.suptitle(legible(table["recipe"], 80), x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, table: dict[str, Any], score: str) -> None:
    cells = {name: row["scores"][score] for name, row in table["methods"].items()}
    published = {name: row["published"].get(score) for name, row in table["methods"].items()}
    lowest = min([0.0, *(cell["mean"] for cell in cells.values() if cell["mean"] is not None)])
    for position, (name, cell) in enumerate(cells.items()):
        role = table["methods"][name]["role"]
        colour = ROLES[role][0]
        if cell["mean"] is not None:
            error = {"xerr": cell["std"], "ecolor": "#333333"} if cell["std"] else {}
            axes.barh(position, cell["mean"], 0.72, color=colour, **error)
        if published[name] is not None:
            axes.plot(published[name], position, "D", mfc="white", mec="black", ms=5, zorder=3, clip_on=False)
        _value(axes, position, cell, published[name], "white" if role == "method" else "black")
    axes.set_xlim(lowest * 1.1, TICKS[-1] + 3)  # the same for every score, so that bars can be compared
    axes.set_xticks(TICKS)
    chance = table["chance"][score]
    if chance is not None:
        axes.axvline(chance, color="#333333", lw=0.8, ls=":", zorder=0)
    targets = ", ".join(table["scores"][score])
    title = score if targets == score else f"{score} ({targets})"
    axes.set_title(fill(legible(title, 2 * NAME), NAME), fontsize=9)
    marks = ["dotted: chance"] if chance is not None else []
    marks += ["diamond: published"] if any(figure is not None for figure in published.values()) else []
    axes.set_xlabel("\n".join([f"{table['measures'][score]}, %", *marks]), fontsize=8)
    axes.tick_params(labelsize=8)


def _value(axes: Axes, position: int, cell: dict[str, Any], published: float | None, ink: str) -> None:
    """Write the value inside its bar if it fits, otherwise after the bar and after a diamond that is near."""
    mean, std = cell["mean"], cell["std"]
    if mean is None:
        axes.text(2, position, "failed", va="center", fontsize=8)
        return
    text = f"{mean:.1f}" + (f" ± {std:.1f}" if std is not None else "")
    if mean >= ROOM:
        axes.text(2, position, text, va="center", fontsize=8, color=ink)
        return
    end = max(mean + (std or 0.0), 0.0)
    if published is not None and end - 4 < published < end + ROOM:
        end = published
    axes.text(end + 4, position, text, va="center", fontsize=8)
