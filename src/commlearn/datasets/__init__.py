"""Data sets by name: Trifeature, published benchmarks, and stand-ins for them."""

from __future__ import annotations

from commlearn.datasets.registry import READERS, check_reader

__all__ = ["READERS", "check_reader"]
