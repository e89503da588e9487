"""Shared, unique and synergistic information as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from commlearn.plot.style import COLOURS, INK, TICK, columns, legible, new_axes, styled

__all__ = ["information", "parts_of"]

ATOMS = {"shared": COLOURS[0], "only": COLOURS[5], "synergy": COLOURS[2]}


@styled
def information(report: Any, axes: Axes | None = None) -> Axes:
    """Shared, unique and synergistic information: a stacked bar for each view that the report has.

    Args:
        report: an interaction report, its plain values, or several of either by target (their data views).
        axes: where to draw.
    """
    bars = _bars(report)
    pitch = 0.5 if len(bars) < 5 else 0.36  # inches a bar
    axes = axes or new_axes(height=1.3 + pitch * len(bars))
    widest = max(sum(bits for bits, *_ in parts.values()) for parts in bars.values())
    named: dict[str, Any] = {}
    for place, parts in enumerate(reversed(bars.values())):
        left, total = 0.0, sum(bits for bits, *_ in parts.values())
        for name, (bits, low, high) in parts.items():
            look = _look(name, list(parts))
            bar = axes.barh(place, bits, left=left, height=0.6, edgecolor="white", **look)
            named.setdefault(name, bar)
            if high - low > 0.01 * widest:
                axes.plot([left + low, left + high], [place - 0.4] * 2, "|-", color=INK, lw=1, ms=4)
            if bits > 0.06 * max(total, 1e-9):
                text = f"{bits:.2f}"
                axes.text(left + bits / 2, place, text, ha="center", va="center", fontsize=8, color="white")
            left += bits
    axes.set_yticks(range(len(bars)), [legible(name, TICK) for name in reversed(bars)])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.set_xlabel("bits")
    axes.grid(axis="y", visible=False)
    handles, labels = list(named.values()), [legible(name) for name in named]
    below = (0.5, -0.55 / (0.4 + pitch * len(bars)))  # about half an inch, in heights of the axes
    axes.legend(handles, labels, ncols=columns(labels), loc="upper center", bbox_to_anchor=below)
    return axes


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


def _bars(report: Any) -> dict[str, dict[str, tuple[float, float, float]]]:
    values = report if isinstance(report, Mapping) else report.to_dict()
    if "views" in values:
        return {name: parts_of(view) for name, view in values["views"].items()}
    plain = {name: one if isinstance(one, Mapping) else one.to_dict() for name, one in values.items()}
    return {name: parts_of(one["views"]["data"]) for name, one in plain.items()}


def _look(name: str, names: Sequence[str]) -> dict[str, Any]:
    """Shared, unique and synergy have a colour each; hatches tell apart several of one sort."""
    sort = name.split()[0]
    place = [other for other in names if other.split()[0] == sort].index(name)
    return {"color": ATOMS[sort], "hatch": ("", "//", "..", "xx", "oo")[place % 5]}
