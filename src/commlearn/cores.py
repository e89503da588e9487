"""How many cores there are to share out, and how threads wait for each other."""

from __future__ import annotations

import os

__all__ = ["cores", "sleep_while_waiting"]


def cores() -> int:
    """Those that this process may use.

    Example:
        >>> cores() > 0
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sleep_while_waiting() -> None:
    """Let torch's threads sleep while they wait for one another, unless the environment says otherwise.

    By default they spin, which keeps a core busy that another process may need: on a machine with other work
    a training then takes twice the time. It has to be called before torch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
