"""Compare two processes on two cores with one process on one core: samples per second of a training.

    python benchmarks/processes.py [--rounds 2] [--steps 40] [--batch 48 192]

Trains trifeature-quick with DDP over gloo, with the same number of records on each process and one thread
each; runs take turns. The rate is the median in the run's own log. This needs two cores that nothing else
uses. The table also gives the processor time of a step, which other programs hardly change. "2 apart" are two
independent trainings of one process each: the most that two cores of this machine can do.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

EVERY = 5  # steps between two log entries


def run(processes: int, steps: int, batch: int) -> tuple[float, float]:
    """Return samples per second, and processor seconds per step and process without the start."""
    short = train(processes, EVERY, batch)
    long = train(processes, steps + EVERY, batch)
    return long[0], (long[1] - short[1]) / steps / processes


def train(processes: int, steps: int, batch: int) -> tuple[float, float]:
    """Train for `steps` steps; returns the median rate, and the processor time of all processes."""
    whole = processes * batch
    before = _spent()
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "commlearn", "train", "trifeature-quick", "--out", f"{folder}/run", "--quiet"]
        command += ["--training.batch_size", str(whole), "--data.train_pairs", str(steps * whole)]
        command += ["--training.epochs", "1", "--training.log_every", str(EVERY), "--training.diagnose", "0"]
        command += ["--training.accelerator", "cpu", "--training.devices", str(processes)]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        if processes > 1:
            command = [*launcher, *command, "--training.strategy", "ddp"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *command], check=True, env=environment)
        lines = (Path(folder) / "run" / "speed.jsonl").read_text().splitlines()
    rates = [json.loads(line)["samples_per_second"] for line in lines[1:] or lines]
    return statistics.median(rates), _spent() - before


def apart(steps: int, batch: int) -> float:
    """Return the sum of the rates of two independent trainings that run at the same time."""
    with ThreadPoolExecutor(2) as pool:
        return sum(rate for rate, _ in pool.map(lambda _: train(1, steps, batch), range(2)))


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, nargs="+", default=[48, 192], help="records per process")
    options = parser.parse_args()
    print("| batch | round | processes | samples/s | relative to one | processor time of a step, s |")
    print("| --- " * 6 + "|")
    for batch, number in product(options.batch, range(1, options.rounds + 1)):
        one = 0.0
        for processes in (1, 2):
            rate, spent = run(processes, options.steps, batch)
            one = one or rate
            row = f"| {batch} | {number} | {processes} | {rate:.1f} | {rate / one:.2f} | {spent:.3f} |"
            print(row, flush=True)
        rate = apart(options.steps + EVERY, batch)
        print(f"| {batch} | {number} | 2 apart | {rate:.1f} | {rate / one:.2f} | |", flush=True)


if __name__ == "__main__":
    main()
