"""How many cores this process may use, and how many of them other processes leave free."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

STATISTICS = Path("/proc/stat")  # on Linux: what each core has done since boot, in ticks
WORKING = (0, 1, 2, 5, 6, 7)  # user, nice, system, interrupts, soft interrupts, taken by the machine's host
SAMPLE = 0.2  # seconds: 20 ticks of a core
SHORTEST = 0.1  # shortest interval over which load is measured, in seconds

_chosen: set[str] = set()  # thread counts that were set here, not stated by the user


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stated_threads() -> int:
    """Return the number of threads that OMP_NUM_THREADS states; 0 if none, or if `use_free_cores` set it."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdecimal() and value not in _chosen else 0


class OtherWork:
    """Measures how many cores other processes keep busy, from its creation on."""

    def __init__(self) -> None:
        self.started = self._clocks()

    def free(self) -> int:
        """Return the rounded number of cores without other work since then; all if it is not reported."""
        (start, start_work, start_own), (end, end_work, end_own) = self.started, self._clocks()
        seconds = end - start
        if seconds < SHORTEST:
            return cores()
        busy = (end_work - start_work - (end_own - start_own)) / seconds
        return max(0, min(cores(), round(cores() - busy)))

    @staticmethod
    def _clocks() -> tuple[float, float, float]:
        """Return the clock, the seconds our cores have worked, and the seconds this process has worked."""
        return time.monotonic(), _seconds_worked(), time.process_time()


def free_cores() -> int:
    """Return how many cores other processes leave free, at least 1; measuring it takes 0.2 s."""
    other_work = OtherWork()
    time.sleep(SAMPLE)
    return max(1, other_work.free())


def use_free_cores() -> str:
    """Give torch as many threads as cores are free; return a message, empty if nothing was changed.

    torch's threads spin while they wait for each other: next to other work that needs their cores, two of
    them take several times as long as one. If torch is not imported yet, threads are also made to sleep
    while they wait. Values that OMP_NUM_THREADS and OMP_WAIT_POLICY already have are kept.
    """
    if stated_threads():
        return ""
    available = free_cores()
    if available == cores():
        return ""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(min(available, torch.get_num_threads()))
    else:
        os.environ["OMP_NUM_THREADS"] = str(available)
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        _chosen.add(str(available))
    return (
        f"Other processes leave {available} of {cores()} cores free, so torch uses {available} "
        f"thread{'s' * (available > 1)}. Set OMP_NUM_THREADS to use another number."
    )


def _seconds_worked() -> float:
    """Return the seconds that this process's cores have worked for anyone since boot; 0 if not reported."""
    with suppress(OSError, ValueError, IndexError):
        lines = [line.split() for line in STATISTICS.read_text(encoding="ascii").splitlines()]
        core_names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = sum(int(line[1 + column]) for line in lines if line[0] in core_names for column in WORKING)
        return ticks / os.sysconf("SC_CLK_TCK")
    return 0.0
