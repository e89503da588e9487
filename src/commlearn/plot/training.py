"""Charts of the metrics that were logged during a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from commlearn.errors import DataError
from commlearn.plot.style import INK, legible, modality_colours, name_ends, new_axes, styled
from commlearn.probes.ladder import subset_label
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
