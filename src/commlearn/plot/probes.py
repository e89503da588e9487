"""Charts of what probes read off embeddings."""

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
from commlearn.probes import MEASURES, score_of
from commlearn.probes.audit import Audit


@styled
def ladder(rungs: Mapping[str, Any], title: str = "", axes: Axes | None = None) -> Axes:
    """Draw a probe's score for each subset of modalities, with its 95 % interval.

    Args:
        rungs: results by subset, as `probe_ladder` returns them for one target.
        title: title of the plot, such as the target's name.
        axes: axes to draw on.
    """
    modalities = list(dict.fromkeys("+".join(rungs).split("+")))
    labels = [joined(name, modalities) for name in rungs]
    axes = axes or new_axes(3.8 + 0.06 * max(map(len, labels)), 0.9 + 0.27 * len(rungs))
    colours = modality_colours(rungs)
    for position, (name, result) in enumerate(rungs.items()):
        _score(axes, position, result, colours.get(name, INK), "D" if "+" in name else "o")
    as_list(axes, labels)
    chance = next(iter(rungs.values())).chance
    axes.axvline(chance, color=QUIET, ls="--", lw=1, zorder=0)
    axes.set_xlabel(f"{MEASURES[next(iter(rungs.values())).measure]} (dashed: chance)")
    axes.set_title(legible(title))
    return axes


@styled
def audit(result: Audit, axes: Axes | None = None) -> Axes:
    """Draw what a probe can still read of a target when inputs are augmented, by modality."""
    modalities = list(dict.fromkeys(row.modality for row in result.rows))
    axes = axes or new_axes(5.4, 0.9 + 0.24 * (len(modalities) + len(result.rows)))
    colours = modality_colours(modalities)
    labels: list[str] = []
    headings: list[int] = []
    for name in modalities:
        headings.append(len(labels))
        labels.append(legible(name, 2 * TICK))
        for row in sorted((row for row in result.rows if row.modality == name), key=lambda row: row.strength):
            factor = f", x {row.strength}" if row.strength not in (0, 1) else ""
            condition = f"augmented as in training{factor}" if row.strength else "not augmented"
            _score(axes, len(labels), row.result, colours.get(name, INK), "X" if row.destroys else "o")
            labels.append(f"{condition}: the label is lost" if row.destroys else condition)
    as_list(axes, labels, headings)
    axes.set_xlabel(MEASURES[result.rows[0].result.measure])
    axes.set_title(legible(result.target))
    return axes


def _score(axes: Axes, position: int, result: Any, colour: str, marker: str) -> None:
    """Draw a score with its interval, followed by its value."""
    low, high = result.interval
    score = score_of(result)
    axes.plot([low, high], [position, position], color=colour, lw=2.5, solid_capstyle="butt")
    axes.plot(score, position, marker, color=colour, ms=6)
    axes.annotate(
        f"{score:.2f}", (high, position), (5, 0), textcoords="offset points", va="center", fontsize=8
    )
    axes.margins(x=0.14)
