"""Measure the cost of each recipe of a published data set: one epoch on a stand-in of the published format.

    python benchmarks/recipes.py --rows 2000
    python benchmarks/recipes.py --recipes vision_touch_contact,mm_imdb --rows 2000 --steps 4

Each recipe runs with its own settings in a separate process, so that its peak memory can be measured. With
--steps, only that many steps are run and the rest of the epoch is extrapolated from the median step. Start,
first step and the evaluation of held-out records after the epoch are measured once and not multiplied. Prints
a table, row by row. Times are processor seconds, which other work on the machine changes little, and
wall-clock seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from commlearn.training.callbacks import Callback

RECIPES = {
    "mimic": "mimic",
    "mosi": "mosi",
    "mosi_3": "mosi",
    "mosei": "mosei",
    "mosei_3": "mosei",
    "ur_funny": "ur_funny",
    "ur_funny_3": "ur_funny",
    "mustard": "mustard",
    "vision_touch_regression": "vision_touch",
    "vision_touch_contact": "vision_touch",
    "vision_touch_contact_3": "vision_touch",
    "mm_imdb": "mm_imdb",
    "hateful_memes": "hateful_memes",
}


class Stopwatch(Callback):
    """Callback that records wall-clock and processor time at every step."""

    def __init__(self) -> None:
        self.seen = [now()]

    def step(self, step: int, metrics: Any) -> None:
        self.seen.append(now())

    def reckoned(self, which: int, steps: int) -> tuple[float, float]:
        """Return seconds of `steps` steps and of the median step, by wall clock (0) or processor (1)."""
        marks = [seen[which] for seen in self.seen]
        usual = median(b - a for a, b in pairwise(marks[1:-1]))  # the last evaluates held-out records too
        return marks[-1] - marks[0] + usual * (steps + 1 - len(marks)), usual


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def measure(recipe: str, path: str, steps: int, threads: int) -> dict[str, float]:
    """Measure one epoch, or the given number of its steps, from which the epoch is extrapolated."""
    import numpy as np
    import torch

    from commlearn.config.build import read_data
    from commlearn.config.configuration import read_experiment
    from commlearn.training.train import train

    torch.set_num_threads(threads)
    settings = {"data.path": path, "training.epochs": 1, "training.threads": threads, "training.log_every": 1}
    experiment = read_experiment(recipe, {**settings, "training.accelerator": "cpu"})
    start = time.process_time()
    data = read_data(experiment)
    reading = time.process_time() - start
    batch = experiment.training.batch_size
    whole = len(data.train) // batch
    taken = min(steps or whole, whole)
    if taken < whole:
        data = replace(data, train=data.train.choose(np.arange(taken * batch)))
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        train(experiment, Path(folder) / "run", data=data, progress=watch)
    clock, _ = watch.reckoned(0, whole)
    processor, step = watch.reckoned(1, whole)
    return {
        "steps": whole,
        "measured_steps": taken,
        "read_s": reading,
        "step_s": step,
        "epoch_s": processor,
        "clock_s": clock,
        "thousand_s": step * 1000 / batch,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=0, help="of each epoch, 3 or more; 0 = all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", nargs=2, metavar=("RECIPE", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if 0 < options.steps < 3:
        parser.error(f"--steps is {options.steps}; give 0 for all, or at least 3.")
    if options.one:
        print(json.dumps(measure(*options.one, options.steps, options.threads)))
        return
    from commlearn.datasets.synthetic_published import write_stand_in

    print(
        "| recipe | steps of the epoch, measured | reading | step | epoch | epoch, wall clock "
        "| 1 000 records | peak memory, GB |"
    )
    print("| --- " * 8 + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for recipe in options.recipes.split(","):
            path = Path(folder) / RECIPES[recipe]
            if not path.exists():
                write_stand_in(RECIPES[recipe], path, options.rows)
            flags = ["--steps", str(options.steps), "--threads", str(options.threads)]
            ran = subprocess.run(
                [sys.executable, __file__, "--one", recipe, str(path), *flags],
                capture_output=True,
                text=True,
                check=True,
            )
            costs = json.loads(ran.stdout.splitlines()[-1])
            print(
                f"| {recipe} | {costs['steps']}, {costs['measured_steps']} | {costs['read_s']:.1f} | "
                f"{costs['step_s']:.2f} | {costs['epoch_s']:.0f} | {costs['clock_s']:.0f} | "
                f"{costs['thousand_s']:.1f} | {costs['peak_gb']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
