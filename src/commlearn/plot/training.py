"""Charts of a training: the metrics that were logged, and what probes read off its embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from commlearn.errors import DataError
from commlearn.plot.style import (
    INK,
    QUIET,
    TICK,
    as_list,
    joined,
    legible,
    modality_colours,
    name_ends,
    new_axes,
    styled,
)
from commlearn.probes.audit import Audit
from commlearn.probes.ladder import subset_label
from commlearn.probes.results import MEASURES, score_of
from commlearn.trained.run_folder import RunFolder


def losses(run: Any, axes: Axes | None = None) -> Axes:
    """Draw every term of the loss over the steps.

    Args:
        run: a training, its folder, or the entries of its `metrics.jsonl`.
        axes: axes to draw on; a new figure if not given.

    Example:
        >>> entries = [{"step": 1, "terms": {"image": 3.0}}, {"step": 2, "terms": {"image": 2.0}}]
        >>> losses(entries).get_ylabel()
        'loss'
    """
    return metric(run, "terms", "loss", axes)


@styled
def metric(run: Any, key: str, label: str = "", axes: Axes | None = None) -> Axes:
    """Draw any entry of the metrics over the steps, such as `accuracy` or `gradient_norm`."""
    entries = [entry for entry in _entries(run) if key in entry]
    if not entries:
        raise DataError(f"No metric '{key}' was logged; the run may have had fewer steps than log_every.")
    rows = [entry[key] if isinstance(entry[key], Mapping) else {key: entry[key]} for entry in entries]
    names = list(dict.fromkeys(name for row in rows for name in row))
    axes = axes or new_axes(5.4, max(2.8, 1.0 + 0.2 * len(names)))
    colours = modality_colours(names) if len(names) > 1 else {}
    ends = {}
    for index, name in enumerate(names):
        steps = [entry["step"] for entry, row in zip(entries, rows, strict=True) if row.get(name) is not None]
        values = [row[name] for row in rows if row.get(name) is not None]
        colour, dashes = colours.get(name, INK), ("-", "--", ":", "-.")[index % 4]
        axes.plot(steps, values, dashes, color=colour, lw=1.6, label=legible(name))
        if len(values) == 1:
            axes.plot(steps, values, "o", color=colour)
        if values:
            ends[subset_label(name, list(colours))] = (steps[-1], values[-1], colour)
    axes.set_xlabel("training step")
    axes.set_ylabel(legible(label or key))
    if len(ends) > 1:
        name_ends(axes, ends)
    return axes


def _entries(run: Any) -> list[dict[str, Any]]:
    if isinstance(run, str | Path):
        return RunFolder(run).metrics()
    return run.folder.metrics() if hasattr(run, "folder") else list(run)


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
    first = next(iter(rungs.values()))
    axes.axvline(first.chance, color=QUIET, ls="--", lw=1, zorder=0)
    axes.set_xlabel(f"{MEASURES[first.measure]} (dashed: chance)")
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
    score, end = score_of(result), (result.interval[1], position)
    axes.plot(result.interval, [position, position], color=colour, lw=2.5, solid_capstyle="butt")
    axes.plot(score, position, marker, color=colour, ms=6)
    axes.annotate(f"{score:.2f}", end, (5, 0), textcoords="offset points", va="center", fontsize=8)
    axes.margins(x=0.14)
