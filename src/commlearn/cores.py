"""How many cores there are to share out."""

from __future__ import annotations

import os

__all__ = ["cores"]


def cores() -> int:
    """Those that this process may use.

    Example:
        >>> cores() > 0
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
