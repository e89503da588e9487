"""The charts of `commlearn.plot` as PNG, for slides; those of verdicts are also part of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.backends.backend_agg import FigureCanvasAgg

from commlearn import plot
from commlearn.plot.style import COLOURS, INK, LINE, QUIET
from commlearn.reports.curves import measured, titled
from commlearn.reports.findings import Findings

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


def draw(findings: Findings) -> list[Chart]:
    """Draw every chart that the findings allow."""
    charts = [
        chart(f"verdict-{index}", plot.verdict, findings.verdict, name, says=" ".join(values["words"]))
        for index, (name, values) in enumerate((findings.verdict or {"targets": {}})["targets"].items())
    ]
    charts += [
        chart(
            "losses" if key == "terms" else f"metric-{key}",
            plot.metric,
            findings.metrics,
            key,
            AXES.get(key, titled(key).lower() if len(titled(key)) < 30 else "moved"),
        )
        for key in measured(findings.metrics)
    ]
    charts += [
        chart(f"probe-{index}", plot.ladder, rungs, title=target)
        for index, (target, rungs) in enumerate(findings.ladder.items())
    ]
    charts += [
        chart(f"information-{index}", plot.information, values)
        for index, values in enumerate(findings.interactions.values())
        if "problem" not in values
    ]
    return charts + (
        [chart("audit", plot.audit, findings.audit)] if findings.audit and findings.audit.rows else []
    )


def chart(name: str, draws: Callable[..., Any], /, *values: Any, says: str = "", **named: Any) -> Chart:
    """Draw with a function of `commlearn.plot`; with a text in `says`, also make an SVG for the page."""
    figure = np.ravel(draws(*values, **named))[0].figure
    picture = io.BytesIO()
    FigureCanvasAgg(figure)
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
        unique_id = f"{name}-{identifier}"
        inner = inner.replace(f'id="{identifier}"', f'id="{unique_id}"').replace(
            f'"#{identifier}"', f'"#{unique_id}"'
        )
        inner = inner.replace(f"url(#{identifier})", f"url(#{unique_id})")
    opening = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {size.group(0) if size else ""} role="img">'
    return Markup(f"{opening}<title>{escape(says)}</title>{inner}")


def _in_theme(style: re.Match[str]) -> str:
    text = HEX.sub(lambda match: THEME.get(match.group(0), match.group(0)), style.group(0))
    return re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", text)
