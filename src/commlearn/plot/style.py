"""One look for all pictures; names from data are shown as they are, never read as formulas."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    *("COLOURS", "INK", "LINE", "QUIET", "STYLE", "TICK"),
    *("Panels", "Picture", "columns", "legible", "new_axes", "styled"),
]

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
TICK = 22  # characters of a name at an axis
INK, LINE, QUIET = "#1c2430", "#d5dae1", "#7a8594"
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
    "legend.fontsize": 8.0,
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


class Picture(Figure):
    """A figure that notebooks show, whether or not pyplot was imported."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=90)
        return content.getvalue()


class PictureAxes(Axes):
    """Axes that notebooks show with the figure which they are a part of."""

    def _repr_png_(self) -> bytes:
        return Picture._repr_png_(self.figure)  # type: ignore[arg-type]


class Panels(np.ndarray):
    """Axes of one figure, which notebooks show as that figure."""

    def _repr_png_(self) -> bytes:
        return Picture._repr_png_(self.flat[0].figure)


def new_axes(width: float = 4.6, height: float = 2.8) -> Axes:
    figure = Picture(figsize=(width, height), layout="constrained")
    return figure.subplots(subplot_kw={"axes_class": PictureAxes})


def legible(name: Any, most: int = 36) -> str:
    """A name as matplotlib shows it: it hides labels that begin with an underscore.

    Names that are longer than a chart can bear lose their middle: their ends tell them apart.
    """
    text = " ".join(str(name).split())
    text = text if len(text) <= most else f"{text[: most // 2]}…{text[most // 2 + 1 - most :]}"
    return f" {text}" if text.startswith("_") else text


def columns(labels: Sequence[str], most: int = 4) -> int:
    """As many columns of a legend as stand side by side under a chart.

    Example:
        >>> columns(["a", "b", "c"]), columns(["a" * 30, "b"])
        (3, 1)
    """
    return max(1, min(len(labels), most, 48 // (max(map(len, labels)) + 4)))
