"""Pictures from Python: every function returns the matplotlib Axes that it drew on.

Nothing is shown or saved: `axes.figure.savefig("losses.png")` or a notebook does that. Colours can be
told apart by the colour-blind; names from data are shown as they are, never read as formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commlearn.errors import ConfigurationError, DataError, unknown
from commlearn.evaluation.audit import Audit
from commlearn.evaluation.embed import carrier
from commlearn.evaluation.gallery import versions_of
from commlearn.evaluation.probes import known_labels
from commlearn.training.run_folder import RunFolder

__all__ = ["audit", "embedding_map", "gallery", "information", "ladder", "losses", "metric"]

# Okabe-Ito
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#555555",
)  # Okabe-Ito
INK, LINE, QUIET = "#1c2430", "#d5dae1", "#7a8594"
MARKERS = "osD^vP"
ATOMS = {"shared": COLOURS[0], "only": COLOURS[5], "synergy": COLOURS[2]}
MEASURES = {"balanced_accuracy": "balanced accuracy", "r2": "R2", "weighted_f1": "weighted F1"}
STYLE: Any = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.edgecolor": QUIET,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "font.size": 9.0,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a column named "$x$" is no formula
    "xtick.color": INK,
    "ytick.color": INK,
}


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """The same look for every picture, and nobody else's settings changed."""

    @wraps(draw)
    def drawn(*values: Any, **named: Any) -> Any:
        with mpl.rc_context(STYLE):
            return draw(*values, **named)

    return drawn


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
    axes = axes or _new()
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
        axes.legend(fontsize="small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return axes


@styled
def ladder(rungs: Mapping[str, Any], title: str = "", axes: Axes | None = None) -> Axes:
    """What a probe reads off each subset of modalities, with its 95 % interval.

    Args:
        rungs: by subset, as `probe_ladder` gives them for one target.
        title: such as the target's name.
        axes: where to draw.
    """
    axes = axes or _new(height=0.7 + 0.32 * len(rungs))
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
            f"{score:.2f}", (score, place), (0, 6), textcoords="offset points", ha="center", fontsize=7
        )
    chances = [rung.chance for rung in rungs.values() if hasattr(rung, "chance")]
    if chances:
        axes.axvline(chances[0], color=QUIET, ls="--", lw=1)
        axes.annotate(
            "chance", (chances[0], len(names) - 0.45), (2, 0), textcoords="offset points", fontsize=7
        )
    shown = [f"all {name.count('+') + 1} modalities" if name.count("+") > 2 else name for name in names[:1]]
    axes.set_yticks(range(len(names)), [legible(name) for name in [*shown, *names[1:]]])
    axes.set_ylim(-0.6, len(names) - 0.2)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(MEASURES[next(iter(rungs.values())).measure])
    axes.set_title(legible(title))
    return axes


@styled
def embedding_map(
    points: np.ndarray,
    labels: Sequence[Any] | np.ndarray | None = None,
    title: str = "",
    axes: Axes | None = None,
) -> Axes:
    """Records in two dimensions, coloured by a target.

    Args:
        points: (records, 2), as `project` gives them.
        labels: one a record; numbers of many values are coloured by size.
        title: such as the target's name.
        axes: where to draw.
    """
    axes = axes or _new(height=3.8)
    shown = np.isfinite(points).all(axis=1)
    if labels is None:
        axes.scatter(points[shown, 0], points[shown, 1], s=9, color=COLOURS[0], linewidths=0)
    else:
        values = np.asarray(labels)
        if values.dtype.kind == "f" and len(np.unique(values[known_labels(values)])) > 12:
            cloud = axes.scatter(
                points[shown, 0], points[shown, 1], s=9, c=values[shown], cmap="cividis", linewidths=0
            )
            axes.figure.colorbar(cloud, ax=axes, fraction=0.04)
        else:
            _classes(axes, points[shown], np.array([str(value) for value in values[shown]]))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(legible(title))
    return axes


def _classes(axes: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    for place, label in enumerate(np.unique(labels)):
        rows = labels == label
        colour = COLOURS[place % len(COLOURS)]
        marker = MARKERS[place // len(COLOURS) % len(MARKERS)]
        axes.scatter(
            points[rows, 0],
            points[rows, 1],
            s=9,
            color=colour,
            marker=marker,
            linewidths=0,
            label=legible(label),
        )
    columns = 4 if len(np.unique(labels)) > 3 else 3
    axes.legend(
        fontsize="small", ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.02), markerscale=2
    )


@styled
def information(report: Any, axes: Axes | None = None) -> Axes:
    """Shared, unique and synergistic information: a stacked bar for each view that the report has.

    Args:
        report: an interaction report, its plain values, or several of either by target (their data views).
        axes: where to draw.
    """
    bars = _bars(report)
    axes = axes or _new(height=1.5 + 0.5 * len(bars))
    named: dict[str, Any] = {}
    for place, parts in enumerate(reversed(bars.values())):
        left, total = 0.0, sum(bits for bits, *_ in parts.values())
        for name, (bits, low, high) in parts.items():
            look = _look(name, list(parts))
            bar = axes.barh(place, bits, left=left, height=0.6, edgecolor="white", **look)
            named.setdefault(name, bar)
            axes.plot([left + low, left + high], [place - 0.38] * 2, color=INK, lw=1)
            if bits > 0.06 * max(total, 1e-9):
                told = f"{bits:.2f}"
                axes.text(left + bits / 2, place, told, ha="center", va="center", fontsize=7, color="white")
            left += bits
    axes.set_yticks(range(len(bars)), [legible(name) for name in reversed(bars)])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.set_xlabel("bits (thin lines: intervals)")
    axes.grid(axis="y", visible=False)
    handles, labels = list(named.values()), [legible(name) for name in named]
    below = (0.5, -0.62 / len(bars) ** 0.5)
    axes.legend(handles, labels, fontsize="small", ncols=3, loc="upper center", bbox_to_anchor=below)
    return axes


@styled
def audit(found: Audit, axes: Axes | None = None) -> Axes:
    """What a probe still reads of a target when inputs are augmented, by modality."""
    modalities = list(dict.fromkeys(row.modality for row in found.rows))
    axes = axes or _new(height=0.9 + 0.5 * len(modalities))
    strengths = sorted({row.strength for row in found.rows})
    for row in found.rows:
        place = len(modalities) - 1 - modalities.index(row.modality)
        height = place + 0.22 - 0.22 * strengths.index(row.strength)
        colour = COLOURS[strengths.index(row.strength) % len(COLOURS)]
        axes.plot(row.result.interval, [height] * 2, color=colour, lw=2.2)
        axes.plot(score_of(row.result), height, "X" if row.destroys else "o", color=colour, ms=6)
    for place, strength in enumerate(strengths):
        axes.plot(
            [], [], "o-", color=COLOURS[place], label="clean" if not strength else f"augmented x {strength}"
        )
    axes.set_yticks(range(len(modalities)), [legible(name) for name in modalities[::-1]])
    axes.set_ylim(-0.6, len(modalities) - 0.4)
    axes.set_xlabel(f"probe of {legible(found.target)} (cross: destroyed)")
    axes.legend(fontsize="small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return axes


@styled
def gallery(
    model: Any, data: Any, modality: str, records: int = 3, versions: int = 4, seed: int = 0
) -> np.ndarray:
    """What the network sees: records as they are (left) and augmented, one row each.

    Judge by eye whether you could still tell the target from the augmented versions.

    Args:
        model: a training, an artifact or an Embedder.
        data: a Dataset, Records, or a table.
        modality: which.
        records: how many, evenly spread.
        versions: augmented versions of each.
        seed: of the augmentation.
    """
    trained = carrier(model)
    if modality not in trained.specs:
        raise ConfigurationError(unknown("modality", modality, trained.specs))
    pages = versions_of(trained, data, modality, records, versions, seed)
    figure = Figure(figsize=(1.25 * (versions + 1), 1.3 * len(pages)), layout="constrained")
    grid = figure.subplots(len(pages), versions + 1, squeeze=False)
    for number, page in enumerate(pages):
        for place, (cell, seen) in enumerate(zip(grid[number], page, strict=True)):
            seen.draw(cell)
            if not number:
                cell.set_title("clean" if not place else f"version {place}", fontsize=7)
    return grid


def score_of(result: Any) -> float:
    """The figure that a probe's interval belongs to."""
    return getattr(result, result.measure)


def legible(name: Any) -> str:
    """A name as matplotlib shows it: it hides labels that begin with an underscore."""
    text = " ".join(str(name).split())
    text = text if len(text) <= 40 else text[:39] + "…"
    return f" {text}" if text.startswith("_") else text


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


def _entries(run: Any) -> list[dict[str, Any]]:
    if isinstance(run, str | Path):
        return RunFolder(run).metrics()
    return run.folder.metrics() if hasattr(run, "folder") else list(run)


def _new(width: float = 5.2, height: float = 3.0) -> Axes:
    return Figure(figsize=(width, height), layout="constrained").subplots()
