"""All readers by name, under the name that training has for them."""

from __future__ import annotations

from commlearn.data import READERS

__all__ = ["READERS"]
