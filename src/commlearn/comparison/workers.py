"""Processes that work on jobs; if one fails, the others continue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import torch

from commlearn.comparison.plan import ComparisonSource, Job
from commlearn.cores import cores, free_cores, stated_threads
from commlearn.trained.run_folder import JOB, OUTPUT, RunFolder

SECONDS_BETWEEN = 30.0  # seconds between two progress lines of a running training
COMMAND = (sys.executable, "-m", "commlearn.comparison.job")


def work_on(
    source: ComparisonSource,
    jobs: Sequence[Job],
    at_a_time: int,
    tell: Callable[[str], None],
    files: Mapping[str, str] | None = None,
    threads: int = 0,
) -> dict[Job, str]:
    """Run each job in its own process; return the reasons of those that failed.

    A job is refused if the fingerprint of the table it reads differs from `files`. With 0 threads, it has
    as many as before it was interrupted, otherwise a share of the cores.
    """
    shared = _threads_for(min(at_a_time, max(len(jobs), 1)))
    waiting, errors = list(jobs), {}
    running: dict[Job, subprocess.Popen[bytes]] = {}
    started: dict[Job, float] = {}
    last_line_at = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                job = waiting.pop(0)
                running[job] = _start(source, job, threads or _threads_before(job) or shared, files)
                started[job] = time.monotonic()
                tell(f"started: {job}")
            time.sleep(0.2)
            if time.monotonic() - last_line_at > SECONDS_BETWEEN:
                last_line_at = time.monotonic()
                for job in running:
                    tell(f"  {job}: {_last_words(job) or 'starting'}")
            for job in [job for job, process in running.items() if process.poll() is not None]:
                process = running.pop(job)
                _close_stdin(process)
                minutes = (time.monotonic() - started[job]) / 60
                if process.returncode == 0:
                    tell(f"done: {job}, {minutes:.1f} min, {len(waiting) + len(running)} to go")
                else:
                    errors[job] = _reason(job, process.returncode)
                    tell(f"failed: {job}: {errors[job]}")
    finally:  # processes still run only after an interruption: each writes a checkpoint and ends
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
            _close_stdin(process)
    return errors


def _threads_for(processes: int) -> int:
    """Return the number of threads per process; processes share the cores that other work leaves free."""
    limit = cores() // processes
    if limit <= 1:
        return 1
    return min(limit, stated_threads()) if stated_threads() else max(1, free_cores() // processes)


def _start(
    source: ComparisonSource, job: Job, threads: int, files: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    job.folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "source": asdict(source),
        "method": job.method,
        "options": job.options,
        "seed": job.seed,
        "variant": job.variant,
        "targets": job.targets,
        "threads": threads,
        "files": files,
    }
    folder = RunFolder(job.folder)
    folder.write(JOB, json.dumps(spec, indent=2) + "\n")
    folder.writes(OUTPUT)
    with (job.folder / OUTPUT).open("ab") as output:  # an orphaned process may still write
        return start_process([*COMMAND, str(job.folder)], output, threads)


def _threads_before(job: Job) -> int:
    """Return the thread count of an interrupted job, as another would change its weights; 0 for a new job."""
    path = job.folder / JOB
    with suppress(OSError, ValueError, LookupError, TypeError):
        return int(json.loads(path.read_text(encoding="utf-8"))["threads"])
    return 0


def start_process(command: Sequence[str], output: BinaryIO, threads: int) -> subprocess.Popen[bytes]:
    """Start a process that ends when this one does: its stdin is a pipe that closes at that moment."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.PIPE, env=environment
    )


def _close_stdin(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _reason(job: Job, code: int) -> str:
    last_words = _last_words(job)
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; did it run out of memory? Try jobs=1" if -code == signal.SIGKILL else ""
        return f"ended by {name}{hint}"
    return last_words or f"exited with code {code} and printed nothing"


def _last_words(job: Job) -> str:
    path = job.folder / OUTPUT
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def peak_memory() -> int | None:
    """Return the peak memory of this process in MB, of GPU memory if there is a GPU.

    Returns None if it cannot be measured.
    """
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage includes what the parent held before starting this process
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        if peaks:
            return round(peaks[0] * 1024 / 1e6)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def forget_peak() -> None:
    """Reset the peak of main memory, if the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
