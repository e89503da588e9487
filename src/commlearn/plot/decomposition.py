"""Shared, unique and synergistic information as bars with their names beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from commlearn.plot.style import INK, QUIET, TICK, as_list, legible, modality_colours, new_axes, styled

VIEWS = {
    "data": "what the modalities say",
    "linear": "what a straight line can read of it",
    "representation": "what the model's embedding keeps of it",
    "raw": "what the raw columns say",
    "model": "what the model's own predictions use",
}
SHARED = {"color": QUIET, "hatch": "////", "edgecolor": "white"}


@styled
def information(report: Any, axes: Axes | None = None) -> Axes:
    """Shared, unique and synergistic information: a bar a part with its interval, for each view there is.

    Args:
        report: an interaction report, its plain values, or several of either by target (their data views).
        axes: where to draw.
    """
    groups = _groups(report)
    axes = axes or new_axes(6.4, tallness(report))
    names = dict.fromkeys(part.removeprefix("only ") for parts in groups.values() for part in parts)
    colours = modality_colours(name for name in names if not name.startswith(("shared", "synergy")))
    labels: list[str] = []
    headings = []
    for group, parts in groups.items():
        headings.append(len(labels))
        labels.append(legible(VIEWS.get(group, group), 2 * TICK + 3))
        for name, (bits, low, high) in parts.items():
            shared = name.startswith("shared")
            look = SHARED if shared else {"color": colours.get(name[5:], INK), "alpha": 0.6}
            axes.barh(len(labels), bits, height=0.62, **look)
            axes.plot([low, high], [len(labels)] * 2, "|-", color=INK, lw=1, ms=4, mec=INK)
            axes.annotate(
                f"{bits:.2f}",
                (max(bits, high), len(labels)),
                (6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
            labels.append(legible(_words(name), 2 * TICK))
    as_list(axes, labels, headings)
    axes.set_xlim(left=0)
    axes.margins(x=0.12)
    axes.set_xlabel("bits (1 bit: the answer to one question of yes or no)")
    return axes


def tallness(report: Any) -> float:
    """Inches that the bars of a report take."""
    return 0.8 + 0.21 * sum(len(parts) + 1 for parts in _groups(report).values())


def _words(part: str) -> str:
    if part.startswith("synergy"):
        several = part.removeprefix("synergy").removeprefix(" of ")
        return f"only {several or 'both'} together"
    return part


def parts_of(view: Mapping[str, Any]) -> dict[str, tuple[float, float, float]]:
    """The parts that sum to the total, each with its interval.

    Of two modalities their four atoms; of more: what several carry, what each adds, and what 2, 3, ... of
    them say together.
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
    return {name: (part["bits"], part["low"], part["high"]) for name, part in parts.items()}


def _groups(report: Any) -> dict[str, dict[str, tuple[float, float, float]]]:
    values = report if isinstance(report, Mapping) else report.to_dict()
    if "views" in values:
        return {name: parts_of(view) for name, view in values["views"].items()}
    plain = {name: one if isinstance(one, Mapping) else one.to_dict() for name, one in values.items()}
    return {name: parts_of(one["views"]["data"]) for name, one in plain.items()}
