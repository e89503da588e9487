"""What each recipe of a published data set costs: one epoch on a stand-in of the published format.

    python benchmarks/recipes.py --rows 2000
    python benchmarks/recipes.py --recipes mosi,mimic --rows 2000

Each recipe runs with its own settings in a process of its own, so that the peak of memory is its own.
Prints a table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def measure(recipe: str, path: str, steps: int, threads: int) -> dict[str, float]:
    """One epoch, or as many steps of it as asked and the epoch reckoned from them."""
    import torch

    from commlearn.training.build import read_data
    from commlearn.training.configuration import read_experiment
    from commlearn.training.loop import train

    torch.set_num_threads(threads)
    settings = {"data.path": path, "training.epochs": 1, "training.threads": threads}
    experiment = read_experiment(recipe, {**settings, "training.accelerator": "cpu"})
    start = time.perf_counter()
    data = read_data(experiment)
    reading = time.perf_counter() - start
    batch = experiment.training.batch_size
    whole = len(data.train) // batch
    taken = min(steps or whole, whole)
    if taken < whole:
        from dataclasses import replace

        import numpy as np

        data = replace(data, train=data.train.choose(np.arange(taken * batch)))
    with tempfile.TemporaryDirectory() as folder:
        start, worked = time.perf_counter(), time.process_time()
        train(experiment, Path(folder) / "run", data=data)
        seconds, cpu = time.perf_counter() - start, time.process_time() - worked
    return {
        "read_s": reading,
        "steps": whole,
        "measured_steps": taken,
        "epoch_s": seconds * whole / taken,
        "epoch_cpu_s": cpu * whole / taken,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=0, help="of each epoch; 0 = all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", nargs=2, metavar=("RECIPE", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one, options.steps, options.threads)))
        return
    from commlearn.data.synthetic_published import write_stand_in

    print("| recipe | steps | measured | reading, s | epoch, s | epoch, s of CPU | peak memory, GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
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
            found = json.loads(ran.stdout.splitlines()[-1])
            print(
                f"| {recipe} | {found['steps']} | {found['measured_steps']} | {found['read_s']:.1f} | "
                f"{found['epoch_s']:.0f} | {found['epoch_cpu_s']:.0f} | {found['peak_gb']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
