"""The charts of `commlearn.plot` as PNG, for slides, and the line charts of the page itself."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape

from commlearn import plot
from commlearn.plot.style import COLOURS, INK, LINE, QUIET, spread_out
from commlearn.reports.findings import Findings
from commlearn.reports.records import limits, line_path, number

THEME = {colour.lower(): f"var(--c{index})" for index, colour in enumerate(COLOURS)}
THEME |= {INK: "var(--ink)", LINE: "var(--line)", QUIET: "var(--quiet)", "#ffffff": "var(--paper)"}
STYLE = re.compile(r'style="[^"]*"')
HEX = re.compile(r"#[0-9a-f]{6}\b")
AXES = {"terms": "loss", "accuracy": "share retrieved", "diagnostics.neighbours": "same class"}


@dataclass(frozen=True)
class Chart:
    """One chart as PNG, and as SVG if it is part of the page."""

    name: str  # name of the PNG
    png: bytes
    svg: Markup | None = None


def draw(findings: Findings) -> Iterator[Chart]:
    """Draw every chart that the findings allow."""
    for index, (name, values) in enumerate((findings.verdict or {"targets": {}})["targets"].items()):
        yield chart(f"verdict-{index}", plot.verdict, findings.verdict, name, says=" ".join(values["words"]))
    for key in measured(findings.metrics):
        name = "losses" if key == "terms" else f"metric-{key}"
        label = AXES.get(key, titled(key).lower() if len(titled(key)) < 30 else "moved")
        yield chart(name, plot.metric, findings.metrics, key, label)
    for index, (target, rungs) in enumerate(findings.ladder.items()):
        yield chart(f"probe-{index}", plot.ladder, rungs, title=target)
    for index, values in enumerate(findings.interactions.values()):
        if "problem" not in values:
            yield chart(f"information-{index}", plot.information, values)
    if findings.audit and findings.audit.rows:
        yield chart("audit", plot.audit, findings.audit)


def chart(name: str, draws: Callable[..., Any], /, *values: Any, says: str = "", **named: Any) -> Chart:
    """Draw with a function of `commlearn.plot`; with a text in `says`, also make an SVG for the page."""
    figure = np.ravel(draws(*values, **named))[0].figure
    picture = io.BytesIO()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # both formats share one layout: compute it once
    figure.savefig(picture, format="png", dpi=150, facecolor="white")
    if not says:
        return Chart(name, picture.getvalue())
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "svg.image_inline": True}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Chart(name, picture.getvalue(), themed(text.getvalue(), name, says))


def themed(svg: str, name: str, says: str) -> Markup:
    """Return an SVG of matplotlib as part of the page, with colours that follow light and dark mode."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    size = re.search(r'viewBox="[^"]*"', body)
    inner = STYLE.sub(_in_theme, body[body.index(">") + 1 :])
    for identifier in sorted(set(re.findall(r' id="([^"]+)"', inner)), key=len, reverse=True):
        for reference in ('id="{}"', '"#{}"', "url(#{})"):
            inner = inner.replace(reference.format(identifier), reference.format(f"{name}-{identifier}"))
    opening = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {size.group(0) if size else ""} role="img">'
    return Markup(f"{opening}<title>{escape(says)}</title>{inner}")


def _in_theme(style: re.Match[str]) -> str:
    text = HEX.sub(lambda match: THEME.get(match.group(0), match.group(0)), style.group(0))
    return re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", text)


CALLED = {  # titles of what the training measures
    "terms": "Loss terms",
    "accuracy": "Share retrieved in the batch",
    "gradient_norm": "Gradient norm",
    "diagnostics.rank": "Effective rank",
    "diagnostics.spread": "Alignment and uniformity",
    "diagnostics.sensitivity": "How far the embedding moves if one modality is replaced by another record's",
    "diagnostics.neighbours": "Share of nearest neighbours of the same class",
}
SIDES = {"step", "epoch", "learning_rate", "warnings"}
WIDE, HIGH, NAME = 300, 120, 15  # size of a line chart, height of a name


@dataclass(frozen=True)
class Curve:
    """One line of a line chart of the page."""

    name: str
    path: str
    last: str
    height: float  # vertical position of its name, in units of the chart


@dataclass(frozen=True)
class Curves:
    """One line chart of the page."""

    title: str
    low: str
    high: str
    steps: tuple[int, int]
    tall: int
    lines: tuple[Curve, ...]


def curves(metrics: Sequence[Mapping[str, Any]]) -> list[Curves]:
    """Return a chart for each figure that was measured at two or more steps."""
    return [drawn for key in measured(metrics) if (drawn := _curves(metrics, key)) is not None]


def measured(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the figures that the training wrote, those that have a title in `CALLED` first."""
    keys = dict.fromkeys(key for entry in metrics for key in entry if key not in SIDES)
    order = sorted(keys, key=lambda key: list(CALLED).index(key) if key in CALLED else len(CALLED))
    return [key for key in order if any(_is_figure(entry.get(key)) for entry in metrics)]


def titled(key: str) -> str:
    return CALLED.get(key, f"{key[0].upper()}{key[1:]}".replace("_", " "))


def _is_figure(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(_is_figure(part) for part in value.values())
    return isinstance(value, int | float) and not isinstance(value, bool)


def _curves(metrics: Sequence[Mapping[str, Any]], key: str) -> Curves | None:
    entries = [entry for entry in metrics if _is_figure(entry.get(key))]
    if len(entries) < 2:
        return None
    rows = [entry[key] if isinstance(entry[key], Mapping) else {"": entry[key]} for entry in entries]
    values = {
        name: np.array([row.get(name, np.nan) for row in rows], dtype=float)
        for name in dict.fromkeys(name for row in rows for name in row)
    }
    low, high = limits(list(values.values()))
    tall = max(HIGH, NAME * len(values))
    ends = {
        name: line[np.isfinite(line)][-1] if np.isfinite(line).any() else low for name, line in values.items()
    }
    heights = [1 + (tall - 2) * (1 - (end - low) / ((high - low) or 1)) for end in ends.values()]
    name_heights = spread_out(heights, NAME, NAME / 2, tall - NAME / 2)
    lines = tuple(
        Curve(name, line_path(line, low, high, WIDE, tall), number(float(ends[name])), height)
        for (name, line), height in zip(values.items(), name_heights, strict=True)
    )
    steps = (int(entries[0]["step"]), int(entries[-1]["step"]))
    return Curves(titled(key), number(low), number(high), steps, tall, lines)
