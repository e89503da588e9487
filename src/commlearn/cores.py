"""How many cores there are to share out, and how many of them other processes leave free."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

STATISTICS = Path("/proc/stat")  # of Linux: what each core has done since the start, in ticks
WORKING = (0, 1, 2, 5, 6, 7)  # user, nice, system, interrupts, soft interrupts, taken by the machine's host
SAMPLE = 0.2  # seconds: 20 ticks of a core
SHORTEST = 0.1  # shortest interval over which load is measured, in seconds

_chosen: set[str] = set()  # numbers of threads that were chosen here, and not stated


def cores() -> int:
    """Those that this process may use.

    Example:
        >>> cores() > 0
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stated_threads() -> int:
    """The threads that OMP_NUM_THREADS states; 0 if it states none, or `use_free_cores` has set it.

    Example:
        >>> stated_threads() >= 0
        True
    """
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return int(stated) if stated.isdecimal() and stated not in _chosen else 0


class OtherWork:
    """Measures from now on how many cores other processes keep busy.

    Example:
        >>> 0 <= OtherWork().free() <= cores()
        True
    """

    def __init__(self) -> None:
        self.started = self._now()

    def free(self) -> int:
        """Cores without other work since then, rounded; all of them where the system does not report it."""
        (before, worked, own), (now, works, owns) = self.started, self._now()
        seconds = now - before
        if seconds < SHORTEST:
            return cores()
        busy = (works - worked - (owns - own)) / seconds
        return max(0, min(cores(), round(cores() - busy)))

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """The clock, the seconds that our cores have worked, and those that they worked for this process."""
        return time.monotonic(), _seconds_worked(), time.process_time()


def free_cores() -> int:
    """Cores that other processes leave free, at least 1; it takes .2 s to see.

    Example:
        >>> 1 <= free_cores() <= cores()
        True
    """
    other = OtherWork()
    time.sleep(SAMPLE)
    return max(1, other.free())


def use_free_cores() -> str:
    """Give torch as many threads as cores are free, if some are not; a line that says so, else nothing.

    torch's threads spin while they wait for one another: beside other work that needs their cores, two of
    them take several times the time of one. Before torch is imported, threads are in addition made to sleep
    while they wait. What OMP_NUM_THREADS and OMP_WAIT_POLICY state stays.

    Example:
        >>> use_free_cores() if stated_threads() else ""
        ''
    """
    if stated_threads():
        return ""
    free = free_cores()
    if free == cores():
        return ""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(min(free, torch.get_num_threads()))
    else:
        os.environ["OMP_NUM_THREADS"] = str(free)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        _chosen.add(str(free))
    return (
        f"Other work leaves {free} of {cores()} cores free: {free} thread{'s' * (free > 1)}. "
        "For another number, state OMP_NUM_THREADS."
    )


def _seconds_worked() -> float:
    """What the cores of this process have worked for anybody since the start; 0 where no file says so."""
    with suppress(OSError, ValueError, IndexError):
        lines = [line.split() for line in STATISTICS.read_text(encoding="ascii").splitlines()]
        ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = sum(int(line[1 + place]) for line in lines if line[0] in ours for place in WORKING)
        return ticks / os.sysconf("SC_CLK_TCK")
    return 0.0
