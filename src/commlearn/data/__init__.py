"""Batches, records and the readers of data sets."""

from __future__ import annotations

from commlearn.data.trifeature import Trifeature

__all__ = ["READERS"]

READERS: dict[str, type] = {"trifeature": Trifeature}
