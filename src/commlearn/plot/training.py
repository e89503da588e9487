"""What was measured while a model was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from commlearn.errors import DataError
from commlearn.plot.style import COLOURS, columns, legible, new_axes, styled
from commlearn.trained.run_folder import RunFolder

__all__ = ["losses", "metric"]


def losses(run: Any, axes: Axes | None = None) -> Axes:
    """Every term of the loss over the steps.

    Args:
        run: a training, its folder, or the entries of its `metrics.jsonl`.
        axes: where to draw; a new figure if not given.

    Example:
        >>> entries = [{"step": 1, "terms": {"image": 3.0}}, {"step": 2, "terms": {"image": 2.0}}]
        >>> losses(entries).get_ylabel()
        'loss'
    """
    return metric(run, "terms", "loss", axes)


@styled
def metric(run: Any, key: str, label: str = "", axes: Axes | None = None) -> Axes:
    """Any entry of the metrics over the steps, such as `accuracy` or `gradient_norm`."""
    entries = [entry for entry in _entries(run) if key in entry]
    if not entries:
        raise DataError(f"Nothing named '{key}' was measured; the run may have been shorter than log_every.")
    axes = axes or new_axes()
    rows = [entry[key] if isinstance(entry[key], Mapping) else {key: entry[key]} for entry in entries]
    for place, name in enumerate(dict.fromkeys(name for row in rows for name in row)):
        steps = [entry["step"] for entry, row in zip(entries, rows, strict=True) if row.get(name) is not None]
        values = [row[name] for row in rows if row.get(name) is not None]
        dashes = ("-", "--", ":", "-.")[place // len(COLOURS) % 4]
        axes.plot(steps, values, dashes, color=COLOURS[place % len(COLOURS)], lw=1.6, label=legible(name))
        if len(values) == 1:
            axes.plot(steps, values, "o", color=COLOURS[place % len(COLOURS)])
    axes.set_xlabel("step")
    axes.set_ylabel(legible(label or key))
    if len(axes.lines) > 1:
        labels = [str(line.get_label()) for line in axes.lines]
        axes.legend(ncols=columns(labels, 3), loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return axes


def _entries(run: Any) -> list[dict[str, Any]]:
    if isinstance(run, str | Path):
        return RunFolder(run).metrics()
    return run.folder.metrics() if hasattr(run, "folder") else list(run)
