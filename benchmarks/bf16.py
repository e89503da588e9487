"""Test whether bf16 changes what is learned: R, U and S of a recipe in fp32 and bf16-mixed, over seeds.

    python benchmarks/bf16.py OUT [--seeds 3] [--jobs 2] [--recipe trifeature-quick] [--native]

Both are complete trainings of the library; the second sets `training.precision: bf16-mixed`. Most CPUs
multiply bf16 a hundred times slower than fp32. By default, products and convolutions of bf16 operands are
therefore computed in fp32 and rounded to bf16, as bf16 hardware does, which also sums in fp32. `--native`
leaves them to the machine. Trainings whose scores are already in OUT are not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

import commlearn as cl
from commlearn.config.build import read_data

PRECISIONS = ("32-true", "bf16-mixed")
aten = torch.ops.aten
PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.convolution, aten.convolution_backward}


class ProductsInFp32(TorchDispatchMode):
    """Mode in which products of bf16 numbers are summed in fp32 and rounded once to bf16."""

    def __init__(self) -> None:
        super().__init__()
        self.rounded = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [value for value in args if isinstance(value, torch.Tensor)]
        if function.overloadpacket not in PRODUCTS or torch.bfloat16 not in {value.dtype for value in given}:
            return function(*args, **(kwargs or {}))
        self.rounded += 1
        wide, options = tree_map_only(torch.Tensor, torch.Tensor.float, (args, kwargs or {}))
        return tree_map_only(torch.Tensor, torch.Tensor.bfloat16, function(*wide, **options))


@contextmanager
def products_in_fp32() -> Iterator[ProductsInFp32]:
    """Use `ProductsInFp32` for a whole training; attention is decomposed so that it sees those products."""
    with sdpa_kernel(SDPBackend.MATH), ProductsInFp32() as mode:
        yield mode


def work(recipe: str, variant: str, precision: str, seed: int, folder: Path, native: bool) -> None:
    """Train and probe once, and write the run and its scores to the folder."""
    torch.set_num_threads(1)
    experiment = cl.read_experiment(
        recipe,
        {"seed": seed, "training.precision": precision, "training.threads": 1, "training.accelerator": "cpu"},
        variant,
    )
    rounding = precision != "32-true" and not native
    data = read_data(experiment)
    with products_in_fp32() if rounding else nullcontext() as mode:
        run = cl.train(experiment, folder, data=data, resume=True)
    if mode is not None and not mode.rounded:
        raise SystemExit("No bf16 product was executed, so this would compare fp32 with itself.")
    targets = [
        target for score in experiment.scores.values() if score.variant == variant for target in score.targets
    ]
    accuracies = {
        name: result.balanced_accuracy for name, result in cl.probe(run, data, targets=targets).items()
    }
    (folder / "scores.json").write_text(json.dumps(accuracies))


def scores(folder: Path, experiment: Any, precision: str, seed: int) -> dict[str, float]:
    def one(variant: str, targets: list[str]) -> float:
        accuracies = json.loads((place(folder, precision, seed, variant) / "scores.json").read_text())
        return 100 * mean(accuracies[target] for target in targets)

    return {name: one(score.variant, score.targets) for name, score in experiment.scores.items()}


def place(out: Path, precision: str, seed: int, variant: str) -> Path:
    return out / f"{precision}-{variant}-seed{seed}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--recipe", default="trifeature-quick")
    parser.add_argument("--native", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("PRECISION", "SEED", "VARIANT"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.one:
        precision, seed, variant = options.one
        work(
            options.recipe,
            variant,
            precision,
            int(seed),
            place(options.out, precision, int(seed), variant),
            options.native,
        )
        return
    experiment = cl.read_experiment(options.recipe)
    jobs = [
        job
        for job in product(PRECISIONS, range(options.seeds), experiment.variants)
        if not (place(options.out, *job) / "scores.json").exists()
    ]

    def run(job: tuple[str, int, str]) -> None:
        subprocess.run([sys.executable, *sys.argv, "--one", *map(str, job)], check=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, jobs))
    print(f"| precision | {' | '.join(experiment.scores)} |")
    print("| --- " * (1 + len(experiment.scores)) + "|")
    for precision in PRECISIONS:
        by_seed = [scores(options.out, experiment, precision, seed) for seed in range(options.seeds)]
        cells = [in_words([accuracies[name] for accuracies in by_seed]) for name in experiment.scores]
        print(f"| {precision} | {' | '.join(cells)} |")


def in_words(values: list[float]) -> str:
    by_seed = ", ".join(f"{value:.1f}" for value in values)
    return f"{mean(values):.1f} +- {stdev(values) if len(values) > 1 else 0:.1f} ({by_seed})"


if __name__ == "__main__":
    main()
