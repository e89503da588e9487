"""All readers by name: the published data sets, and any table that a schema describes."""

from __future__ import annotations

from typing import Any

from commlearn.data import READERS as DATA_SETS
from commlearn.kinds.dataset import TableData

__all__ = ["READERS"]

READERS: dict[str, type[Any]] = {**DATA_SETS, "table": TableData}
