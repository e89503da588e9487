"""Charts of `commlearn.plot` as inline SVG in the page's colours, and as PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from commlearn.plot.style import COLOURS, INK, LINE, QUIET
from commlearn.reports.html import Safe, fold, tag

__all__ = ["Chart", "chart"]

THEME = {colour.lower(): f"var(--c{place})" for place, colour in enumerate(COLOURS)}
THEME |= {INK: "var(--ink)", LINE: "var(--line)", QUIET: "var(--quiet)", "#ffffff": "var(--paper)"}
STYLE = re.compile(r'style="[^"]*"')
HEX = re.compile(r"#[0-9a-f]{6}\b")


@dataclass(frozen=True)
class Chart:
    """One picture and what it says."""

    name: str  # of the PNG
    title: str
    says: str  # for those who cannot see it
    svg: Safe
    png: bytes

    def figure(self, *below: Any) -> Safe:
        """The picture under its caption; `below`, such as its values, is closed until asked for."""
        values = [fold("Values", *below)] if below else []
        return tag("figure", tag("figcaption", self.title), self.svg, *values)


def chart(name: str, title: str, says: str, draw: Callable[..., Any], /, *values: Any, **named: Any) -> Chart:
    """Draw with a function of `commlearn.plot`, once, and keep both forms."""
    axes = draw(*values, **named)
    figure = np.ravel(axes)[0].figure
    picture = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # both forms are laid out alike: once is enough
    figure.savefig(picture, format="png", dpi=150, facecolor="white")
    if len(figure.axes) == 1:
        figure.axes[0].set_title("", loc="left")  # the page has it in the caption
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "svg.image_inline": True}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Chart(name, title, says, themed(text.getvalue(), name, says), picture.getvalue())


def themed(svg: str, name: str, says: str) -> Safe:
    """An SVG of matplotlib as part of the page: its colours follow light and dark."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    size = re.search(r'viewBox="[^"]*"', body)
    inner = body[body.index(">") + 1 :]
    inner = STYLE.sub(_in_theme, inner)
    for identifier in sorted(set(re.findall(r' id="([^"]+)"', inner)), key=len, reverse=True):
        fresh = f"{name}-{identifier}"
        inner = inner.replace(f'id="{identifier}"', f'id="{fresh}"')
        inner = inner.replace(f'"#{identifier}"', f'"#{fresh}"').replace(
            f"url(#{identifier})", f"url(#{fresh})"
        )
    label = tag("title", says)
    opening = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {size.group(0) if size else ""} role="img">'
    return Safe(opening + label + inner)


def _in_theme(style: re.Match[str]) -> str:
    text = HEX.sub(lambda match: THEME.get(match.group(0), match.group(0)), style.group(0))
    return re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", text)
