"""Charts of comparisons, drawn by matplotlib without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["comparison_chart"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#555555")


def comparison_chart(table: dict[str, Any], path: Path) -> None:
    """Bars of every score by method, with the published figure as an open diamond."""
    methods, scores = list(table["methods"]), list(table["scores"])
    figure = Figure(figsize=(1.6 + 2.2 * len(scores), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    wide = 0.8 / len(methods)
    places = np.arange(len(scores))
    for number, method in enumerate(methods):
        row = table["methods"][method]
        x = places + (number - (len(methods) - 1) / 2) * wide
        means = [row["scores"][score]["mean"] for score in scores]
        errors = [row["scores"][score]["std"] or 0.0 for score in scores]
        heights = [mean if mean is not None else 0.0 for mean in means]
        axes.bar(x, heights, wide * 0.92, yerr=errors, color=COLOURS[number % len(COLOURS)], label=method)
        for place, mean in zip(x, means, strict=True):
            axes.text(place, (mean or 0) + 2, "-" if mean is None else f"{mean:.0f}", ha="center", fontsize=8)
        known = [(p, row["published"][s]) for p, s in zip(x, scores, strict=True) if s in row["published"]]
        if known:
            axes.plot(*zip(*known, strict=True), "D", mfc="white", mec="black", ms=5, zorder=3)
    axes.plot([], [], "D", mfc="white", mec="black", ms=5, label="published (224 px, 100 epochs)")
    axes.set_xticks(places, [f"{score}\n({', '.join(table['scores'][score])})" for score in scores])
    axes.set_ylabel("balanced accuracy, %")
    axes.set_ylim(0, 112)
    axes.set_title(table["recipe"], loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    figure.savefig(path, dpi=150)
