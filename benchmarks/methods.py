"""Measure the cost of a training step of every method, relative to CoMM.

    OMP_NUM_THREADS=1 python benchmarks/methods.py [--rounds 15]

Times are processor times of one thread for augmentation, loss, gradient and optimizer update of one batch.
The methods take turns in every round, so that other work on the machine affects all of them equally. The
table contains the medians over rounds, and the medians of the ratios to CoMM in the same round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

from commlearn.augmentations import make_batch
from commlearn.batch import Modality, Spec, View
from commlearn.config.build import build_augmentations, build_method
from commlearn.config.configuration import Experiment, read_experiment
from commlearn.methods import METHODS
from commlearn.training.descent import adamw

PICTURES = {name: Spec("image", (3, 64, 64)) for name in ("image1", "image2")}
VECTORS = {name: Spec("vector", (20,)) for name in ("a", "b", "c")}
SHAPES = {
    "two pictures of 64 pixels": ("trifeature-quick", PICTURES),
    "three vectors of 20 numbers": ("trifeature-three-quick", VECTORS),
}


def taken(name: str, experiment: Experiment, specs: dict[str, Spec], view: View) -> Callable[[], None]:
    """Return a function that runs one training step of a method, on new augmentations of the same records."""
    method = build_method(experiment, specs).train()
    groups, views = method.parameter_groups(), METHODS[name].views
    optimizers = {group: adamw(method, groups[group], experiment.training) for group in groups}
    augmentations = build_augmentations(experiment, specs)
    labels = {"label": torch.arange(experiment.training.batch_size) % 2}
    draw = torch.Generator().manual_seed(0)

    def work() -> None:
        targets = labels if views.targets else {}
        batch = make_batch(view, targets, augmentations, draw, views.plain, views.augmented, specs)
        for step in method.steps(batch):
            method.zero_grad()
            step.loss.backward()
            optimizers[step.group].step()

    return work


def times(recipe: str, specs: dict[str, Spec], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round, for the methods that accept this number of modalities."""
    torch.manual_seed(0)
    records = read_experiment(recipe).training.batch_size
    view = {
        name: Modality(
            torch.randint(0, 256, (records, *spec.shape), dtype=torch.uint8)
            if spec.kind == "image"
            else torch.randn(records, *spec.shape)
        )
        for name, spec in specs.items()
    }
    works = {}
    for name, method in METHODS.items():
        if len(specs) <= (method.modality_count[1] or len(specs)):
            works[name] = taken(name, read_experiment(recipe, {"method": name}), specs, view)
            works[name]()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shapes = {shape: times(recipe, specs, options.rounds) for shape, (recipe, specs) in SHAPES.items()}
    print("| method | " + " | ".join(f"{shape}, ms | to CoMM" for shape in shapes) + " |")
    print("| --- " * (1 + 2 * len(shapes)) + "|")
    for name in METHODS:
        cells = []
        for seconds in shapes.values():
            if name not in seconds:
                cells += ["", ""]
                continue
            ratios = [own / comm for own, comm in zip(seconds[name], seconds["comm"], strict=True)]
            cells += [f"{1000 * median(seconds[name]):.4g}", f"{median(ratios):.2f}"]
        print(f"| `{name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
