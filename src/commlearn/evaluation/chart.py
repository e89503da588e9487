"""Charts of comparisons, drawn by matplotlib without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["comparison_chart"]

COLOURS = {
    "method": "#0072B2",
    "method with labels": "#CC79A7",
    "baseline": "#999999",
    "floor": "#CCCCCC",
    "ceiling": "#E69F00",
}
"""By the role of a member."""
TICKS = (0, 25, 50, 75, 100)  # percent


def comparison_chart(table: dict[str, Any], path: Path) -> None:
    """A panel for each score, a bar for each method, its value beside it; published figures as diamonds."""
    rows, scores = table["methods"], list(table["scores"])
    labels = max(len(name) for name in rows)
    size = (0.9 + 0.085 * labels + 2.6 * len(scores), 1.5 + 0.3 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
    for axes, score in zip(panels, scores, strict=True):
        _panel(axes, table, score)
    panels[0].set_yticks(range(len(rows)), list(rows))
    panels[0].invert_yaxis()
    figure.suptitle(table["recipe"], x=0.01, ha="left", fontsize=11)
    if any(row["published"] for row in rows.values()):
        panels[-1].plot([], [], "D", mfc="white", mec="black", ms=5, label="published")
    for role in dict.fromkeys(row["role"] for row in rows.values()):
        panels[-1].plot([], [], "s", color=COLOURS[role], ms=7, label=role)
    figure.legend(
        *panels[-1].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=5, loc="outside lower left"
    )
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, table: dict[str, Any], score: str) -> None:
    cells = {name: row["scores"][score] for name, row in table["methods"].items()}
    known = {name: row["published"].get(score) for name, row in table["methods"].items()}
    reach = [cell["mean"] + (cell["std"] or 0) for cell in cells.values() if cell["mean"] is not None]
    most = max([*reach, *(value for value in known.values() if value is not None), 1.0])
    least = min([0.0, *(cell["mean"] for cell in cells.values() if cell["mean"] is not None)])
    for place, (name, cell) in enumerate(cells.items()):
        mean, std = cell["mean"], cell["std"] or 0.0
        role = table["methods"][name]["role"]
        end = 0.0
        if mean is not None:
            axes.barh(place, mean, 0.72, xerr=std or None, color=COLOURS[role], ecolor="#333333")
            end = max(mean + std, 0.0)
        if known[name] is not None:
            axes.plot(known[name], place, "D", mfc="white", mec="black", ms=5, zorder=3)
            end = max(end, known[name])
        told = (
            "failed" if mean is None else f"{mean:.1f}" + (f" ± {std:.1f}" if cell["std"] is not None else "")
        )
        axes.text(end + 0.035 * (most - least), place, told, va="center", fontsize=8)
    axes.set_xlim(least * 1.1, most + 0.5 * (most - least))  # room for the words beside the bars
    axes.set_xticks([tick for tick in TICKS if tick <= most or tick == TICKS[1]])
    chance = table["chance"][score]
    if chance is not None:
        axes.axvline(chance, color="#333333", lw=0.8, ls=":", zorder=0)
    targets = ", ".join(table["scores"][score])
    axes.set_title(score if targets == score else f"{score} ({targets})", fontsize=9)
    guess = "" if chance is None else "; dotted: chance"
    axes.set_xlabel(f"{table['measures'][score]}, %{guess}", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
