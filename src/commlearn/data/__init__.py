"""Batches, records and the readers of data sets."""

from __future__ import annotations

from commlearn.data.contract import check_reader
from commlearn.data.registry import READERS

__all__ = ["READERS", "check_reader"]
