"""What probes read off embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from commlearn.plot.style import COLOURS, INK, QUIET, TICK, legible, new_axes, styled
from commlearn.probes import MEASURES, score_of
from commlearn.probes.audit import Audit

__all__ = ["audit", "ladder"]


@styled
def ladder(rungs: Mapping[str, Any], title: str = "", axes: Axes | None = None) -> Axes:
    """What a probe reads off each subset of modalities, with its 95 % interval.

    Args:
        rungs: by subset, as `probe_ladder` gives them for one target.
        title: such as the target's name.
        axes: where to draw.
    """
    axes = axes or new_axes(height=0.7 + 0.32 * len(rungs))
    names = list(rungs)[::-1]
    for place, name in enumerate(names):
        low, high = rungs[name].interval
        score = score_of(rungs[name])
        joined = "+" in name
        axes.plot(
            [low, high], [place, place], color=COLOURS[5 if joined else 0], lw=2.5, solid_capstyle="butt"
        )
        axes.plot(score, place, "D" if joined else "o", color=COLOURS[5 if joined else 0], ms=6)
        axes.annotate(
            f"{score:.2f}", (score, place), (0, 6), textcoords="offset points", ha="center", fontsize=8
        )
    chance = next(iter(rungs.values())).chance
    axes.axvline(chance, color=QUIET, ls="--", lw=1)
    axes.annotate("chance", (chance, len(names) - 0.45), (2, 0), textcoords="offset points", fontsize=8)
    shown = [f"all {name.count('+') + 1} modalities" if name.count("+") > 2 else name for name in names[:1]]
    axes.set_yticks(range(len(names)), [legible(name, TICK) for name in [*shown, *names[1:]]])
    axes.set_ylim(-0.6, len(names) - 0.2)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(MEASURES[next(iter(rungs.values())).measure])
    axes.set_title(legible(title))
    return axes


@styled
def audit(result: Audit, axes: Axes | None = None) -> Axes:
    """What a probe still reads of a target when inputs are augmented, by modality."""
    modalities = list(dict.fromkeys(row.modality for row in result.rows))
    axes = axes or new_axes(height=0.9 + 0.5 * len(modalities))
    strengths = sorted({row.strength for row in result.rows})
    for row in result.rows:
        place = len(modalities) - 1 - modalities.index(row.modality)
        height = place + 0.22 - 0.22 * strengths.index(row.strength)
        colour = COLOURS[strengths.index(row.strength) % len(COLOURS)]
        axes.plot(row.result.interval, [height] * 2, color=colour, lw=2.2)
        axes.plot(score_of(row.result), height, "X" if row.destroys else "o", color=colour, ms=6)
    for place, strength in enumerate(strengths):
        axes.plot(
            [], [], "o-", color=COLOURS[place], label="clean" if not strength else f"augmented x {strength}"
        )
    axes.set_yticks(range(len(modalities)), [legible(name, TICK) for name in modalities[::-1]])
    axes.set_ylim(-0.6, len(modalities) - 0.4)
    if any(row.destroys for row in result.rows):
        axes.plot([], [], "X", color=INK, label="destroyed")
    axes.set_xlabel(MEASURES[result.rows[0].result.measure])
    axes.set_title(legible(result.target))
    below = (0.5, -0.5 / (0.2 + 0.5 * len(modalities)))  # half an inch, in heights of the axes
    axes.legend(ncols=3, loc="upper center", bbox_to_anchor=below)
    return axes
