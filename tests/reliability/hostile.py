"""Thousands of hostile inputs; each must give a result or one of commlearn's own errors.

    python tests/reliability/hostile.py --cases 20000

Each case has a number that seeds everything in it, so that it can be run again: `--only cells:17`.
"""

from __future__ import annotations

import argparse
import logging
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import hostile_files
import hostile_models
import hostile_records
import hostile_words
import numpy as np

from commlearn.errors import CommlearnError

Case = Callable[[random.Random, Path], None]
SECONDS = 20  # processor time that one case may take
WAIT = 180  # seconds by the clock: a case that waits forever uses no processor time
MEMORY = 2 << 30  # most bytes that one case may hold, in addition to what the process held before it
ROOM = 6 << 30  # bytes of address space that cases may add, so that a failing one cannot exhaust the machine
SORTS: dict[str, Case] = {
    **hostile_words.SORTS,
    **hostile_records.SORTS,
    **hostile_models.SORTS,
    **hostile_files.SORTS,
}


class Hang(BaseException):
    """Raised if a case takes too long; a BaseException, so that no handler in between swallows it."""


@dataclass
class Report:
    """Counts of cases by sort and outcome, the failures, and the slowest and the largest case."""

    results: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unnamed: list[tuple[str, str]] = field(default_factory=list)  # case, traceback
    slowest: tuple[float, str] = (0.0, "")
    largest: tuple[int, str] = (0, "")  # bytes of memory, case

    def lines(self) -> list[str]:
        lines = [f"{'sort':14}{'results':>9}{'errors':>9}{'unnamed':>9}"]
        for sort in SORTS:
            failed = sum(case.startswith(f"{sort}:") for case, _ in self.unnamed)
            lines.append(f"{sort:14}{self.results[sort]:9}{self.errors[sort]:9}{failed:9}")
        total = self.results.total() + self.errors.total() + len(self.unnamed)
        return [
            *lines,
            f"{total} cases, {len(self.unnamed)} unnamed failures; slowest {self.slowest[1]}, "
            f"{self.slowest[0]:.1f} s; largest {self.largest[1]}, {self.largest[0] >> 20} MiB",
        ]


def run(cases: int, seed: int = 0, only: str = "", told_every: int = 0) -> Report:
    """Run this many cases, spread over all sorts, or only the case named `sort:number`."""
    report = Report()
    names = list(SORTS)
    drawn = (f"{names[at % len(names)]}:{seed + at // len(names)}" for at in range(cases))
    chosen = [only] if only else list(drawn)
    with _limits(), tempfile.TemporaryDirectory() as scratch:
        for done, case in enumerate(chosen):
            if told_every and done and done % told_every == 0:
                print(f"{done} cases, {len(report.unnamed)} unnamed failures", file=sys.stderr, flush=True)
            folder = Path(scratch) / "case"
            folder.mkdir()
            _one(case, folder, report)
            shutil.rmtree(folder)
    return report


def _one(case: str, folder: Path, report: Report) -> None:
    sort, _, number = case.partition(":")
    chance = random.Random(f"{sort} {number}")
    np.random.seed(int(number) % 2**32)
    begun, held = time.process_time(), _forget_peak()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(WAIT)
    try:
        try:
            SORTS[sort](chance, folder)
            counts = report.results
        except CommlearnError:
            counts = report.errors
        taken = _memory("VmHWM") - held
        if taken > MEMORY:
            raise MemoryError(f"held {taken >> 20} MiB")
        report.largest = max(report.largest, (taken, case))
        counts[sort] += 1
    except KeyboardInterrupt:
        raise
    except BaseException:
        report.unnamed.append((case, traceback.format_exc()))
        if len(report.unnamed) < 40:
            print(f"--- {case}\n{report.unnamed[-1][1]}", file=sys.stderr, flush=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    report.slowest = max(report.slowest, (time.process_time() - begun, case))


def _memory(name: str) -> int:
    """Return the bytes that the process holds (VmRSS), or their peak since the last reset (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) << 10


def _forget_peak() -> int:
    """Reset the peak of the memory; return the bytes that the process holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


@contextmanager
def _limits():
    """Turn timers into `Hang`, limit the address space, and silence warnings and logs."""

    def hang(number, frame):
        raise Hang(f"took more than {SECONDS} s of a processor, or {WAIT} s of the clock")

    before = {number: signal.signal(number, hang) for number in (signal.SIGALRM, signal.SIGPROF)}
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, limits[1]))
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first case of each sort")
    parser.add_argument("--only", default="", help="one case, such as cells:17")
    options = parser.parse_args()
    begun = time.monotonic()
    report = run(options.cases, options.seed, options.only, told_every=500)
    print("\n".join([*report.lines(), f"{time.monotonic() - begun:.0f} s"]))
    return 1 if report.unnamed else 0


if __name__ == "__main__":
    sys.exit(main())
