"""Data sets by name: Trifeature, published benchmarks, and stand-ins for them."""

from __future__ import annotations

from commlearn.datasets.contract import check_reader
from commlearn.datasets.registry import READERS

__all__ = ["READERS", "check_reader"]
