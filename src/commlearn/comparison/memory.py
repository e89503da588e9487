"""How much memory a process held at its peak."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import torch


def peak_memory() -> int | None:
    """The most memory that this process held at once, in MB; on a GPU, of the GPU. None: no way to know."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent held before it started us
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        held = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        if held:
            return round(held[0] * 1024 / 1e6)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def forget_peak() -> None:
    """Let the peak begin anew, where the system can do that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
