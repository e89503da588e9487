"""Charts of shared, unique and synergistic information, and of what each subset of modalities says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commlearn.plot.style import (
    INK,
    QUIET,
    TICK,
    as_list,
    joined,
    legible,
    modality_colours,
    new_axes,
    side_by_side,
    styled,
)

VIEWS = {
    "data": "what the modalities provide",
    "linear": "what a linear probe can read",
    "representation": "what the model's embedding keeps",
    "raw": "what the raw columns provide",
    "model": "what the model's own predictions use",
}
SHARED = {"color": QUIET, "hatch": "////", "edgecolor": "white"}
MOST = 6  # pairs that are drawn if there are many modalities


@styled
def information(report: Any, axes: Axes | None = None) -> Axes:
    """Draw shared, unique and synergistic information: a bar with its interval per part, for each view.

    Args:
        report: an interaction report, its plain values, or several of either by target (their data views, or
            pairs of many modalities).
        axes: axes to draw on.
    """
    groups = [(name, parts_of(view)) for name, view in _views(report)]
    axes = axes or new_axes(6.4, _bars_height(report))
    names = (part.removeprefix("only ") for _, parts in groups for part in parts)
    colours = modality_colours(name for name in names if not name.startswith(("shared", "synergy")))
    labels: list[str] = []
    headings = []
    for heading, parts in groups:
        headings.append(len(labels))
        labels.append(legible(heading, 2 * TICK + 3))
        for name, part in parts.items():
            own = {"color": colours.get(name[5:], INK), "alpha": 0.6}
            axes.barh(len(labels), part["bits"], height=0.62, **SHARED if name.startswith("shared") else own)
            end = (max(part["bits"], _whisker(axes, len(labels), part)), len(labels))
            bits = f"{part['bits']:.2f}"
            axes.annotate(bits, end, (6, 0), textcoords="offset points", va="center", fontsize=8)
            labels.append(legible(_words(name), 2 * TICK))
    as_list(axes, labels, headings)
    axes.set_xlim(left=0)
    axes.margins(x=0.12)
    axes.set_xlabel("bits (1 bit answers one yes-or-no question)")
    return axes


def _words(part: str) -> str:
    if part.startswith("synergy"):
        return f"only {part.removeprefix('synergy').removeprefix(' of ') or 'both'} together"
    return part


def _bars_height(report: Any) -> float:
    """Return the height in inches that the bars of a report take."""
    return 0.8 + 0.21 * sum(len(parts_of(view)) + 1 for _, view in _views(report))


def _whisker(axes: Axes, place: int, part: Mapping[str, Any]) -> float:
    """Draw a number's interval, with an arrow instead of an upper end if it still grows; return its end."""
    growing = part.get("growing", False)
    end = max(part["bits"] if growing else part["high"], part["low"])
    axes.plot([part["low"], end], [place] * 2, "|-", color=INK, mec=INK, lw=1, ms=4)
    if growing:
        axes.plot(part["bits"], place, ">", color=INK, ms=4)
    return float(end)


def parts_of(view: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the parts that sum to the total, each with its bits and its interval.

    For a pair, and for a view of two modalities, these are the four atoms. For more modalities, they are what
    several carry, what each adds, and what 2, 3, ... of them say together.
    """
    if "redundant" not in view and len(view["spectrum"]) != 2:
        parts = {"shared by several": view["non_exclusive"]}
        parts |= {f"only {name}": part for name, part in view["unique"].items()}
        return parts | {f"synergy of {order}": part for order, part in enumerate(view["spectrum"][1:], 2)}
    pair = view if "redundant" in view else view["pairs"][0]
    return {
        "shared": pair["redundant"],
        f"only {'+'.join(pair['first'])}": pair["unique1"],
        f"only {'+'.join(pair['second'])}": pair["unique2"],
        "synergy": pair["synergistic"],
    }


def _views(report: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what to draw, each with its heading: views, modality pairs, or those of several reports."""
    values = report if isinstance(report, Mapping) else report.to_dict()
    if "views" in values:
        return [(VIEWS.get(name, name), view) for name, view in values["views"].items()]
    if "alone" in values:
        return [(joined("+".join(pair["first"] + pair["second"])), pair) for pair in most_informative(values)]
    views: list[tuple[str, Mapping[str, Any]]] = []
    reports = values["labels"] if isinstance(values.get("target"), str) else values
    for name, member in reports.items():
        plain = member if isinstance(member, Mapping) else member.to_dict()
        if "views" in plain:
            views.append((name, plain["views"]["data"]))
        else:
            views += [(f"{name}: {heading}", view) for heading, view in _views(plain)]
    return views


def most_informative(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the pairs of many modalities, the one that knows most first."""
    return sorted(values["pairs"], key=lambda pair: -pair["total"]["bits"])


@styled
def interaction_figure(values: Mapping[str, Any], path: str | Path | None = None) -> Figure:
    """Draw the parts in every view on the left, and information and accuracy of every subset on the right.

    Args:
        values: values of an interaction report, as its `to_dict` returns them.
        path: file to write; its extension determines the format.
    """
    ladder = values["views"]["data"]["ladder"]
    figure, (left, right) = side_by_side([_bars_height(values), 0.9 + 0.27 * len(ladder)], 12, 0.6)
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
    best = most_informative(values)[:MOST]
    figure, (axes,) = side_by_side([_bars_height({**values, "pairs": best})], 8)
    information({**values, "pairs": best}, axes)
    count = len(values["pairs"])
    note = f" (the {len(best)} most informative of {count})" if count > len(best) else ""
    axes.set_title(f"{legible(values['target'])}, pair by pair{note}: {values['records']:,} records")
    return _write(figure, path)


def _write(figure: Figure, path: str | Path | None) -> Figure:
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
        _whisker(axes, position, rung)
        text = f"{100 * rung['accuracy']:.0f} % correct"
        axes.annotate(text, (1.02, position), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    as_list(axes, [joined(name, list(colours)) for name in names])
    axes.axvline(values["entropy"], color=INK, linestyle=":")
    axes.set_xlabel("bits each provides (dotted: certainty)")
    axes.set_xlim(0, 1.04 * values["entropy"])
