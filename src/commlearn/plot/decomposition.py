"""Bar charts of shared, unique and synergistic information."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from commlearn.plot.style import (
    INK,
    QUIET,
    TICK,
    as_list,
    joined,
    legible,
    modality_colours,
    new_axes,
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


@styled
def information(report: Any, axes: Axes | None = None) -> Axes:
    """Draw shared, unique and synergistic information: a bar with its interval per part, for each view.

    Args:
        report: an interaction report, its plain values, or several of either by target (their data views, or
            pairs of many modalities).
        axes: axes to draw on.
    """
    groups = [(name, parts_of(view)) for name, view in _views(report)]
    axes = axes or new_axes(6.4, bars_height(report))
    names = dict.fromkeys(part.removeprefix("only ") for _, parts in groups for part in parts)
    colours = modality_colours(name for name in names if not name.startswith(("shared", "synergy")))
    labels: list[str] = []
    headings = []
    for heading, parts in groups:
        headings.append(len(labels))
        labels.append(legible(heading, 2 * TICK + 3))
        for name, part in parts.items():
            shared = name.startswith("shared")
            style = SHARED if shared else {"color": colours.get(name[5:], INK), "alpha": 0.6}
            axes.barh(len(labels), part["bits"], height=0.62, **style)
            axes.annotate(
                f"{part['bits']:.2f}",
                (max(part["bits"], whisker(axes, len(labels), part)), len(labels)),
                (6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
            labels.append(legible(_words(name), 2 * TICK))
    as_list(axes, labels, headings)
    axes.set_xlim(left=0)
    axes.margins(x=0.12)
    axes.set_xlabel("bits (1 bit answers one yes-or-no question)")
    return axes


def bars_height(report: Any) -> float:
    """Return the height in inches that the bars of a report take."""
    return 0.8 + 0.21 * sum(len(parts_of(view)) + 1 for _, view in _views(report))


def whisker(axes: Axes, place: int, part: Mapping[str, Any]) -> float:
    """Draw a number's interval, with an arrow instead of an upper end if it still grows; return its end."""
    growing = part.get("growing", False)
    end = max(part["bits"] if growing else part["high"], part["low"])
    axes.plot([part["low"], end], [place] * 2, "|-", color=INK, mec=INK, lw=1, ms=4)
    if growing:
        axes.plot(part["bits"], place, ">", color=INK, ms=4)
    return float(end)


def _words(part: str) -> str:
    if part.startswith("synergy"):
        count = part.removeprefix("synergy").removeprefix(" of ")
        return f"only {count or 'both'} together"
    return part


def parts_of(view: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the parts that sum to the total, each with its bits and its interval.

    For two modalities these are the four atoms. For more, they are what several carry, what each adds, and
    what 2, 3, ... of them say together.
    """
    if len(view["spectrum"]) == 2:
        pair = view["pairs"][0]
        parts = {
            "shared": pair["redundant"],
            f"only {'+'.join(pair['first'])}": pair["unique1"],
            f"only {'+'.join(pair['second'])}": pair["unique2"],
            "synergy": pair["synergistic"],
        }
    else:
        parts = {"shared by several": view["non_exclusive"]}
        parts |= {f"only {name}": part for name, part in view["unique"].items()}
        parts |= {f"synergy of {order}": part for order, part in enumerate(view["spectrum"][1:], 2)}
    return parts


def _views(report: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what to draw, each with its heading: views, modality pairs, or those of several reports."""
    values = report if isinstance(report, Mapping) else report.to_dict()
    if "views" in values:
        return [(VIEWS.get(name, name), view) for name, view in values["views"].items()]
    if "alone" in values:
        pairs = sorted(values["pairs"], key=lambda pair: -pair["total"]["bits"])
        template = {"spectrum": [None, None]}
        return [(joined("+".join(p["first"] + p["second"])), {**template, "pairs": [p]}) for p in pairs]
    views: list[tuple[str, Mapping[str, Any]]] = []
    reports = values["labels"] if isinstance(values.get("target"), str) else values
    for name, member in reports.items():
        plain = member if isinstance(member, Mapping) else member.to_dict()
        if "views" in plain:
            views.append((name, plain["views"]["data"]))
        else:
            views += [(f"{name}: {heading}", view) for heading, view in _views(plain)]
    return views
