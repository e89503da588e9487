"""Result of a comparison: the table of scores and the verdict, with its data frame, plots and HTML."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

from commlearn.errors import ConfigurationError
from commlearn.escapes import html_text


class Comparison(dict[str, Any]):
    """The table, as written to `table.json`, and the verdict on the methods and their rivals.

    Attributes:
        verdict: the content of `verdict.json`; None if no verdict was requested.
    """

    def __init__(self, table: Mapping[str, Any], verdict: Mapping[str, Any] | None = None) -> None:
        super().__init__(table)
        self.verdict = None if verdict is None else dict(verdict)

    def __str__(self) -> str:
        """Return the verdict in sentences, target by target, or the table if there is no verdict."""
        return "\n".join(sentence_lines(self.verdict)) if self.verdict else dict.__repr__(self)

    def to_frame(self) -> pd.DataFrame:
        """Return the verdict as a frame: one row for each target, budget of labels and reader."""
        rows = []
        for target, values in self._targets().items():
            for budget, part in values["budgets"].items():
                for reader, result in part["readers"].items():
                    gap = part["differences"].get(reader)
                    rows.append(
                        {
                            "target": target,
                            "measure": values["measure"],
                            "labels": budget,
                            "labelled_rows": part["labelled_rows"],
                            "reader": reader,
                            "rival": reader not in part["differences"],
                            "score": result["score"],
                            "low": result["interval"][0],
                            "high": result["interval"][1],
                            "loss": result["loss"],
                            "best_rival": part["rival"],
                            "difference": gap and gap["points"],
                            "difference_low": gap and gap["interval"][0],
                            "difference_high": gap and gap["interval"][1],
                            "claim": gap and gap["claim"],
                            "seconds": result["seconds"],
                            "megabytes": result["megabytes"],
                        }
                    )
        return pd.DataFrame(rows)

    def plot(self, target: str | None = None) -> Any:
        """Plot one target: budget curves, differences to the best rival, absent modalities; three Axes."""
        from commlearn.plot.verdict import verdict

        return verdict(self, target)

    def _repr_html_(self) -> str:
        if self.verdict is None:
            return html_text(dict.__repr__(self))
        parts = []
        for target, values in self._targets().items():
            sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in values["words"])
            parts.append(f"<h4>{escape(target)}</h4><ul>{sentences}</ul>{self._picture(target)}")
        frame = self.to_frame()
        full = frame[frame["labels"] == "all"]
        columns = ["target", "reader", "score", "low", "high", "loss", "seconds", "megabytes"]
        table = full[columns].to_html(index=False, float_format="{:.2f}".format, escape=True)
        return "".join([*parts, table])

    def _picture(self, target: str) -> str:
        encoded = base64.b64encode(self.plot(target)._repr_png_()).decode()
        return f'<img alt="verdict of {escape(target)}" src="data:image/png;base64,{encoded}">'

    def _targets(self) -> dict[str, Any]:
        if self.verdict is None:
            raise ConfigurationError(
                "This comparison has no verdict, because it was run without rivals. Compare with "
                "rivals=[...]."
            )
        return dict(self.verdict["targets"])


def sentence_lines(verdict: Mapping[str, Any]) -> list[str]:
    """Return the verdict as lines: each target with its sentences, and what was not tried."""
    lines = []
    for target, values in verdict["targets"].items():
        lines += [f"{target}:", *(f"  {sentence}" for sentence in values["words"])]
    for name, reason in verdict["not_tried"].items():
        lines.append(f"Not tried: {name} ({reason}).")
    return lines
