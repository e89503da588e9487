"""One page that shows what a training found: self-contained HTML, and the same as PNG, CSV and JSON."""

from __future__ import annotations

from commlearn.reports.build import Written, report

__all__ = ["Written", "report"]
