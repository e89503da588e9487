"""Plots: every function returns the matplotlib Axes that it drew on.

Nothing is shown or saved: `axes.figure.savefig("losses.png")` or a notebook does that. Colours are safe for
colour-blind readers. Names from data are shown as they are, never parsed as formulas.

Example:
    >>> entries = [{"step": 1, "terms": {"image": 3.0}}, {"step": 2, "terms": {"image": 2.0}}]
    >>> losses(entries).get_xlabel()
    'training step'
"""

from __future__ import annotations

from commlearn.plot.comparison import absences, budgets, differences, verdict
from commlearn.plot.decomposition import information
from commlearn.plot.gallery import gallery
from commlearn.plot.projection import embedding_map
from commlearn.plot.training import audit, ladder, losses, metric

__all__ = [
    "absences",
    "audit",
    "budgets",
    "differences",
    "embedding_map",
    "gallery",
    "information",
    "ladder",
    "losses",
    "metric",
    "verdict",
]
