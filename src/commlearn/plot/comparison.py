"""Charts of comparisons, and of their verdict: label budgets, gaps to the best rival, absent modalities."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commlearn.errors import ConfigurationError, unknown
from commlearn.plot.style import (
    COLOURS,
    INK,
    QUIET,
    TICK,
    Panels,
    as_list,
    legible,
    name_ends,
    new_axes,
    side_by_side,
    styled,
)
from commlearn.probes.results import MEASURES

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
    width = 2.4 + 0.05 * max(map(len, labels)) + 2.6 * len(scores)
    figure = Figure(figsize=(width, 1.5 + 0.42 * len(rows)), layout="constrained")
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
        if cell["mean"] is not None:
            error = {"xerr": cell["std"], "ecolor": "#333333"} if cell["std"] else {}
            axes.barh(position, cell["mean"], 0.72, color=ROLES[role][0], **error)
        if published[name] is not None:
            axes.plot(published[name], position, "D", mfc="white", mec="black", ms=5, zorder=3, clip_on=False)
        _value(axes, position, cell, published[name], "white" if role == "method" else "black")
    # the same end for every score, so that bars can be compared; an R2 of -400 would leave the others no room
    axes.set_xlim(max(lowest * 1.1, -TICKS[-1]), TICKS[-1] + 3)
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


CLAIMS = {"more": COLOURS[2], "less": COLOURS[5], "none": QUIET}
WAYS = {"refit": "fitted without it", "left_out": "left out", "filled_with_mean": "filled with the mean"}
LINES = ("--", "-.", ":")
OTHERS = "#c3c9d1"
FLOOR = -10.0  # percent: lower scores, such as R2 on few rows, are drawn here


@styled
def verdict(comparison: Any, target: str | None = None) -> np.ndarray:
    """Draw budget curves, differences to the best rival and absent modalities of a target, side by side.

    Args:
        comparison: what `cl.compare` returned, or the values in `verdict.json`.
        target: the target to draw; the first if not given.
    """
    values = _target(comparison, target)
    rows = sum(len(claims) + 1 for claims in _losses(values).values())
    heights = [max(3.6, 1.0 + 0.38 * len(_gaps(values)))] * 2 + [1.2 + 0.27 * rows]
    _, panels = side_by_side([max(height, heights[0]) for height in heights], 14, 1.1)
    for draw, axes in zip((budgets, differences, absences), panels, strict=True):
        draw(comparison, target, axes)
    return np.array(panels).view(Panels)


@styled
def budgets(comparison: Any, target: str | None = None, axes: Axes | None = None) -> Axes:
    """Draw every reader's score over the number of labelled rows: embeddings in colour, rivals behind them.

    Args:
        comparison: what `cl.compare` returned, or the values in `verdict.json`.
        target: the target to draw; the first if not given.
        axes: axes to draw on.
    """
    values, axes = _target(comparison, target), axes or new_axes(6.4, 3.6)
    parts = list(values["budgets"].values())
    counts = [part["labelled_rows"] for part in parts]
    methods = list(parts[-1]["differences"])
    best = {part["rival"] for part in parts}
    ends: dict[str, tuple[float, float, str]] = {}
    for name in [*(reader for reader in parts[-1]["readers"] if reader not in methods), *methods]:
        results = [part["readers"][name] for part in parts]
        scores = [max(reader["score"], FLOOR) for reader in results]
        if name not in methods and name not in best:
            axes.plot(counts, scores, color=OTHERS, lw=0.9, zorder=1)
            continue
        colour = COLOURS[(2 + methods.index(name)) % len(COLOURS)] if name in methods else INK
        style = "-" if name in methods else LINES[len(ends) % len(LINES)]
        axes.plot(counts, scores, style, marker="o", ms=3.5, color=colour, zorder=3)
        ends[name] = (counts[-1], scores[-1], colour)
        limits = [reader["interval"] for reader in results]
        if name in methods and all(low is not None for low, _ in limits):
            low, high = (np.maximum([limit[side] for limit in limits], FLOOR) for side in (0, 1))
            axes.fill_between(counts, low, high, color=colour, alpha=0.15, lw=0)
    axes.axhline(values["chance"], color=INK, lw=0.8, ls=":", zorder=0)
    axes.annotate("chance", (counts[0], values["chance"]), (0, 2), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count}" for count in counts], fontsize=8)
    axes.minorticks_off()
    others = len(parts[-1]["readers"]) > len(ends)
    axes.set_xlabel("labelled rows (grey: other rivals)" if others else "labelled rows")
    axes.set_ylabel(f"{MEASURES[values['measure']]}, %")
    axes.set_title("Score by number of labels")
    name_ends(axes, ends)
    return axes


@styled
def differences(comparison: Any, target: str | None = None, axes: Axes | None = None) -> Axes:
    """Draw each embedding's score minus that of the best rival at its budget, with intervals: a forest plot.

    Args:
        comparison: what `cl.compare` returned, or the values in `verdict.json`.
        target: the target to draw; the first if not given.
        axes: axes to draw on.
    """
    gaps = _gaps(_target(comparison, target))
    axes = axes or new_axes(5.2, 1.0 + 0.34 * len(gaps))
    for position, claim in enumerate(gaps.values()):
        _whisker(axes, position, claim)
    _from_zero(axes, list(gaps), "points above the best rival")
    axes.set_title("Does the embedding add anything?")
    return axes


@styled
def absences(comparison: Any, target: str | None = None, axes: Axes | None = None) -> Axes:
    """Draw what it costs if test records lack a modality, for features and for embeddings, with intervals.

    Args:
        comparison: what `cl.compare` returned, or the values in `verdict.json`.
        target: the target to draw; the first if not given.
        axes: axes to draw on.
    """
    losses = _losses(_target(comparison, target))
    axes = axes or new_axes(5.6, 1.2 + 0.26 * sum(len(group) + 1 for group in losses.values()))
    labels: list[str] = []
    headings = []
    for modality, claims in losses.items():
        headings.append(len(labels))
        labels.append(legible(modality, 36))
        for name, claim in claims.items():
            _whisker(axes, len(labels), claim)
            labels.append(name)
    _from_zero(axes, labels, "change in points", headings)
    axes.set_title("Without one modality")
    if not labels:
        axes.text(0.5, 0.5, "only one modality", ha="center", transform=axes.transAxes)
    return axes


def _whisker(axes: Axes, position: int, claim: Mapping[str, Any]) -> None:
    colour, (low, high) = CLAIMS[claim["claim"]], claim["interval"]
    if low is not None and high is not None:
        axes.plot([low, high], [position, position], "-", color=colour, lw=1.6, solid_capstyle="butt")
    axes.plot(claim["points"], position, "o", color=colour, ms=4.5)
    points, place = f"{claim['points']:+.1f}", (claim["points"], position)
    axes.annotate(points, place, (0, 4), textcoords="offset points", ha="center", fontsize=7)


def _from_zero(axes: Axes, labels: list[str], title: str, headings: Collection[int] = ()) -> None:
    axes.axvline(0, color=INK, lw=0.8)
    as_list(axes, labels, headings)
    axes.set_xlabel(title)
    axes.margins(x=0.08)


def _gaps(values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    gaps = {}
    for budget, part in values["budgets"].items():
        count = f"{budget} per class" if values["sort"] == "class" else f"{part['labelled_rows']} rows"
        labels = "all labels" if budget == "all" else budget if budget.endswith("%") else count
        for method, claim in part["differences"].items():
            gaps[f"{legible(method, TICK)}, {labels}\nover {legible(part['rival'], TICK)}"] = claim
    return gaps


def _losses(values: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return by modality the loss of the best reader fitted without it, then of features and embeddings."""
    losses = {}
    for modality, readers in values["modalities"].items():
        losses[modality] = {"best reader, fitted without it": readers["refit"]}
        for name, ways in readers.items():
            if name not in ("reader", "refit"):
                losses[modality] |= {f"{name}, {WAYS[way]}": claim for way, claim in ways.items()}
    return losses


def _target(comparison: Any, target: str | None) -> Mapping[str, Any]:
    values = getattr(comparison, "verdict", comparison)
    if not values:
        raise ConfigurationError(
            "This comparison has no verdict: it was run without rivals or without a method that learns "
            "without labels. Compare with rivals=[...] and such a method (comm) in methods=."
        )
    targets: Mapping[str, Any] = values["targets"]
    if target is not None and target not in targets:
        raise ConfigurationError(unknown("target", target, targets))
    return targets[target if target is not None else next(iter(targets))]
