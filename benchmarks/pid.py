"""Measure how exact and how fast the information decomposition is.

Run `OMP_NUM_THREADS=1 python benchmarks/pid.py`; with more threads, threads wait for each other on small
matrices. The first table compares the known parts of distributions with those that are found (the known
values are rounded to four digits, hence errors up to 5e-5). The second one times random tables. Gaps are
certificates, in bits.

Last measured, on one core: largest error 4.1e-5, largest gap 3.1e-7; broja of 20 x 20 x 10 in 0.03 s and of
40 x 40 x 10 in 0.24 s; three sharp modalities of 20 cells and 10 classes in 0.4 s, four in 17 s; three
modalities of 100 000 cells and two classes in 0.8 s.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from commlearn.information.pid import broja, order_spectrum, union_information

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from known_decompositions import known_pairs, known_triples

PAIR_PARTS = ("redundant", "unique1", "unique2", "synergistic", "total")


def timed(task: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Return the shortest time of several runs in seconds, and the largest gap."""
    spent, gaps = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        gaps.append(task())
        spent.append(time.perf_counter() - start)
    return min(spent), max(gaps)


def known_rows() -> list[tuple[str, float, float]]:
    """Return name, largest error and gap of every distribution with known parts."""
    rows = []
    for pair in known_pairs():
        solved = broja(pair.table)
        error = max(abs(getattr(solved, part) - getattr(pair, part)) for part in PAIR_PARTS)
        rows.append((pair.name, error, solved.gap))
    for triple in known_triples():
        spectrum = order_spectrum(triple.table)
        have = (*spectrum.spectrum, *spectrum.unique, spectrum.non_exclusive)
        want = (*triple.spectrum, *triple.unique, triple.non_exclusive)
        error = max(abs(a - b) for a, b in zip(have, want, strict=True))
        rows.append((triple.name, error, spectrum.gap))
    return rows


def random_joint(sizes: tuple[int, ...], concentration: float) -> np.ndarray:
    """Return a table of random masses; a smaller concentration puts most of the mass into fewer cells."""
    random = np.random.default_rng(0)
    return random.dirichlet(np.full(np.prod(sizes), concentration)).reshape(sizes)


def sharp_marginals(cells: int, classes: int, modalities: int) -> list[np.ndarray]:
    """Return marginals like those of good probes: cells nearly certain of one class, the same p(y) in all."""
    random = np.random.default_rng(0)
    marginals = []
    for _ in range(modalities):
        posterior = random.dirichlet(np.ones(classes), size=cells) * 0.1
        posterior[np.arange(cells), np.arange(cells) % classes] += 0.9
        marginals.append(posterior / posterior.sum(axis=0) / classes)
    return marginals


def binary_marginals(cells: int, modalities: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.dirichlet(np.ones(cells), size=2).T / 2 for _ in range(modalities)]


def timed_rows(large: bool) -> list[tuple[str, Callable[[], float]]]:
    """Return names and tasks; each task returns its gap."""
    rows: list[tuple[str, Callable[[], float]]] = []
    for sizes in [(5, 5, 3), (10, 10, 5), (20, 20, 10), (40, 40, 10)]:
        for concentration in (0.01, 0.1, 1.0):
            name = f"broja {' x '.join(map(str, sizes))}, concentration {concentration}"
            table = random_joint(sizes, concentration)
            rows.append((name, lambda table=table: broja(table).gap))
    shapes = [(30, 10, 2), (20, 10, 3), (20, 10, 4)] + ([(20, 10, 5), (20, 5, 6)] if large else [])
    for cells, classes, modalities in shapes:
        name = f"union of {modalities} sharp modalities, {cells} cells, {classes} classes"
        marginals = sharp_marginals(cells, classes, modalities)
        rows.append((name, lambda marginals=marginals: union_information(marginals).gap))
    for sizes in [(3, 3, 3, 3), (4, 4, 4, 5)]:
        name = f"order_spectrum {' x '.join(map(str, sizes))}"
        table = random_joint(sizes, 1.0)
        rows.append((name, lambda table=table: order_spectrum(table).gap))
    for cells, modalities in [(100, 2), (10_000, 5), (100_000, 3)]:
        name = f"union of {modalities} modalities, {cells} cells, 2 classes"
        marginals = binary_marginals(cells, modalities)
        rows.append((name, lambda marginals=marginals: union_information(marginals).gap))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3, help="runs of each timed row; the shortest counts")
    parser.add_argument("--large", action="store_true", help="also five and six modalities: minutes")
    options = parser.parse_args()
    compared = known_rows()
    print(f"{'known distribution':<58}{'error':>10}{'gap':>10}")
    for name, error, gap in compared:
        print(f"{name:<58}{error:>10.1e}{gap:>10.1e}")
    print(f"{'largest':<58}{max(row[1] for row in compared):>10.1e}{max(row[2] for row in compared):>10.1e}")
    print(f"\n{'random table':<58}{'seconds':>10}{'gap':>10}")
    for name, task in timed_rows(options.large):
        seconds, gap = timed(task, options.repeats)
        print(f"{name:<58}{seconds:>10.4f}{gap:>10.1e}", flush=True)


if __name__ == "__main__":
    main()
