"""A common style for all figures; names from data are shown as they are, never parsed as formulas."""

from __future__ import annotations

import io
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from commlearn.probes.ladder import subset_label

# modality colours, here and in the report: Okabe-Ito, darkened until each is visible on white
COLOURS = ("#0072b2", "#c47d00", "#00855f", "#b8578f", "#2f8fc6", "#c25500", "#968800", "#555555")
TICK = 22  # characters of a name at an axis, at most
INK, LINE, QUIET = "#1c2430", "#d5dae1", "#7a8594"
STYLE: Any = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.right", "axes.spines.top", "legend.frameon"), False),
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.edgecolor": QUIET,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "font.size": 9.0,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.0,
    "text.parse_math": False,  # a column named "$x$" is not a formula
}


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a drawing function to use the common style, without changing the caller's settings."""

    @wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


class Picture(Figure):
    """A figure that notebooks display, whether or not pyplot was imported."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=90)
        return content.getvalue()


class PictureAxes(Axes):
    """Axes that notebooks display as the whole figure they belong to."""

    def _repr_png_(self) -> bytes:
        return Picture._repr_png_(self.figure)  # type: ignore[arg-type]


class Panels(np.ndarray):
    """Array of the axes of one figure, which notebooks display as that figure."""

    def _repr_png_(self) -> bytes:
        return Picture._repr_png_(self.flat[0].figure)


def new_axes(width: float, height: float) -> Axes:
    figure = Picture(figsize=(width, height), layout="constrained")
    return figure.subplots(subplot_kw={"axes_class": PictureAxes})


def side_by_side(heights: Sequence[float], width: float, first: float = 1.0) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes next to each other, each about as tall as it needs to be.

    Args:
        heights: height of each, in inches.
        width: total width, in inches.
        first: width of the first axes, relative to that of each of the others.
    """
    steps = sorted(set(heights))
    figure = Picture(figsize=(width, steps[-1] + 0.6), layout="constrained")
    widths = [first, *[1.0] * (len(heights) - 1)]
    grid = figure.add_gridspec(
        len(steps), len(heights), width_ratios=widths, height_ratios=np.diff([0, *steps])
    )
    return figure, [
        figure.add_subplot(grid[: steps.index(height) + 1, column]) for column, height in enumerate(heights)
    ]


def legible(name: Any, most: int = 36) -> str:
    """Return a name that matplotlib will show: it hides labels that begin with an underscore.

    Names that are too long for a chart lose their middle, as their ends tell them apart.
    """
    text = " ".join(str(name).split())
    text = text if len(text) <= most else f"{text[: most // 2]}…{text[most // 2 + 1 - most :]}"
    return f" {text}" if text.startswith("_") else text


def joined(subset: str, whole: Sequence[str] = ()) -> str:
    """Return an axis label for a subset, with names cut to fit; large subsets are named by what they lack.

    Example:
        >>> joined("image+text"), joined("image+text+table+series")
        ('image + text', 'all 4 modalities')
        >>> joined("image+text+table+series", ["image", "text", "table", "series", "audio"])
        'all but audio'
    """
    text = subset_label(subset, whole)
    names = text.removeprefix("all but ").split("+")
    start = text[: len(text) - len("+".join(names))]
    return start + " + ".join(legible(name, (2 * TICK - len(start)) // len(names)) for name in names)


def modality_colours(names: Iterable[str]) -> dict[str, str]:
    """Return the colour of each single modality, by order of appearance.

    Subsets of several modalities get none: they are drawn in the text's colour.
    """
    singles = dict.fromkeys(name for name in names if "+" not in name and name not in ("fused", ""))
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(singles)}


def spread_out(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move places, in the same order and between `low` and `high`, until neighbours are at least `gap` apart.

    Example:
        >>> spread_out([1.0, 5.0, 1.5], 1, 0, 9)
        [1.0, 5.0, 2.0]
    """
    order = np.argsort(places, kind="stable")
    moved = [float(places[index]) for index in order]
    for index in range(len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap if index else low)
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], high if index == len(moved) - 1 else moved[index + 1] - gap)
    by_index = dict(zip(order.tolist(), moved, strict=True))
    return [by_index[index] for index in range(len(moved))]


def name_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Write each line's name next to its end, connected by a line in its colour; names are moved apart.

    Args:
        axes: axes with the lines.
        ends: last point and colour of each line, by name.
    """
    low, high = axes.get_ylim()
    figure = cast(Figure, axes.get_figure(root=True))
    height = axes.get_position().height * figure.get_size_inches()[1]
    positions = spread_out([end[1] for end in ends.values()], 0.17 * (high - low) / height, low, high)
    for (name, (x, y, colour)), position in zip(ends.items(), positions, strict=True):
        axes.annotate(
            legible(name, TICK),
            (x, y),
            (1.07, position),
            textcoords=("axes fraction", "data"),
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops=dict(arrowstyle="-", color=colour, lw=1, relpos=(0, 0.5), shrinkA=1, shrinkB=2),
        )


def as_list(axes: Axes, labels: Sequence[str], headings: Container[int] = ()) -> None:
    """Give the vertical axis a row for each label, from the top; headings are bold."""
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    for index, label in enumerate(axes.get_yticklabels()):
        label.set_fontweight("bold" if index in headings else "normal")
