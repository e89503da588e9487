"""Two processes on two cores against one process on one core: samples a second of a whole training.

    python benchmarks/processes.py [--rounds 2] [--steps 40] [--batch 48 192]

trifeature-quick over DDP and gloo, as many records on each process, one thread each; runs take turns. The
rate is the median of the run's own log. Needs two cores that nothing else uses: beside the rate stands the
processor time of a step, which other programs hardly change. "2 apart" are two trainings of one process each
that know nothing of each other: the most that two cores of this machine can do.
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

EVERY = 5  # steps between two entries of the log


def run(processes: int, steps: int, batch: int) -> tuple[float, float]:
    """Samples a second, and seconds of processor a step and process, the start left out."""
    short = train(processes, EVERY, batch)
    long = train(processes, steps + EVERY, batch)
    return long[0], (long[1] - short[1]) / steps / processes


def train(processes: int, steps: int, batch: int) -> tuple[float, float]:
    """The median rate of a training of so many steps, and the processor time of all its processes."""
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
    """The rates of two trainings side by side, added up."""
    with ThreadPoolExecutor(2) as pool:
        return sum(rate for rate, _ in pool.map(lambda _: train(1, steps, batch), range(2)))


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, nargs="+", default=[48, 192], help="records of a process")
    options = parser.parse_args()
    print("| batch | round | processes | samples/s | against one | processor time of a step, s |")
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
