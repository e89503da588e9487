"""Measure time and memory of CoMM's objective by batch size, compared with the matrix of all pairs.

    python benchmarks/objective.py [--sizes 256 1024 4096 16384] [--memory] [--some-blocks 65536 8]

Width 256, two modalities (three terms), value and gradient. `--memory` measures the peak memory beyond the
inputs and their gradients, and the processor time, of every size in a separate process. `--some-blocks N K`
computes only every K-th block of rows and columns, with the memory of the full computation, and extrapolates
the time to all blocks.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from machine import Machine, Row, measure, operations, seconds, table
from torch import Tensor

from commlearn.objectives import comm_terms, info_nce, log_sums

DIM = 256
SIZES = (256, 1024, 2048)
PLAIN_UP_TO = 4096  # records; larger matrices of all pairs would take minutes
PLAIN_FITS = 16_384  # records; larger matrices need more memory than most machines have
KINDS = {"one": "one contrast", "plain": "the same with all pairs at once", "terms": "three terms"}
Terms = Callable[[Mapping, Mapping, tuple[str, ...]], Mapping[tuple[str, ...], Tensor]]


def plain_info_nce(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    rows = F.normalize(torch.cat([first, second]), dim=1)
    itself = torch.eye(len(rows), dtype=torch.bool)
    similarity = (rows @ rows.T / temperature).masked_fill(itself, float("-inf"))
    return F.cross_entropy(similarity, torch.arange(len(rows)).roll(len(first)))


def plain_terms(first: Mapping, second: Mapping, full: tuple[str, ...]) -> dict:
    return {
        subset: (plain_info_nce(first[subset], second[full]) + plain_info_nce(second[subset], first[full]))
        / 2
        for subset in first
    }


def views(samples: int) -> list[dict]:
    torch.manual_seed(0)
    subsets = [("a",), ("b",), ("a", "b")]
    return [{s: torch.randn(samples, DIM, requires_grad=True) for s in subsets} for _ in range(2)]


def descend(terms: Terms, samples: int) -> Callable[[], None]:
    first, second = views(samples)

    def work() -> None:
        torch.stack(list(terms(first, second, ("a", "b")).values())).mean().backward()

    return work


def tables(machine: Machine, sizes: tuple[int, ...] = SIZES) -> list[str]:
    rows = []
    for samples in sizes:
        rounds = 3 if samples <= 1024 else 1
        ours = descend(comm_terms, samples)
        spent = seconds(ours, rounds, warm=samples <= 4096)
        note = ""
        if samples <= PLAIN_UP_TO:
            plain = seconds(descend(plain_terms, samples), rounds)
            note = f"all pairs at once {1000 * plain:.4g} ms, {plain / spent:.1f} times as long"
        count = operations(descend(comm_terms, min(samples, 1024))) * (samples / min(samples, 1024)) ** 2
        rows.append(Row(f"three terms and their gradients, N = {samples}", spent, count, note=note))
    return [table("The objective, width 256", rows, machine)]


def peak(samples: int, kind: str) -> tuple[float, float]:
    """Return the megabytes beyond inputs and their gradients, and the seconds, of one value and gradient."""
    first, second = views(samples)
    for rows in (*first.values(), *second.values()):
        rows.grad = torch.zeros_like(rows).fill_(0.0)  # written to, so that it counts as memory before
    info_nce(torch.randn(4, DIM, requires_grad=True), torch.randn(4, DIM)).backward()  # load libraries first
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    full = ("a", "b")
    if kind == "terms":
        torch.stack(list(comm_terms(first, second, full).values())).mean().backward()
    else:
        loss = {"one": info_nce, "plain": plain_info_nce}[kind]
        loss(first[full], second[full]).backward()
    spent = time.process_time() - start
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, spent


def some_blocks(samples: int, step: int) -> str:
    """Compute three terms from every `step`-th block; return the memory, and the estimated time of all."""
    every, zeros = log_sums.blocks, torch.zeros_like

    def some(rows: Tensor) -> Iterator[slice]:
        return itertools.islice(every(rows), 0, None, step)

    log_sums.blocks = some
    torch.zeros_like = lambda rows: zeros(rows).fill_(0.0)  # pages of skipped blocks must count as well
    used, spent = peak(samples, "terms")
    count = len(list(every(torch.empty(samples, 0))))
    done = len(range(0, count, step))
    # three terms need five matrices between views, and half of each of six matrices of a view with itself
    shares = [5 * n * n + 6 * n * (n + 1) / 2 for n in (count, done)]
    return (
        f"three terms, N = {samples}: {used:.0f} MB beyond the inputs; every {step}th block of rows and of "
        f"columns took {spent:.0f} s of one thread, so that all take {spent * shares[0] / shares[1]:.0f} s"
    )


def measured(samples: int, kind: str) -> tuple[float, float]:
    """Run `peak` in a separate process."""
    output = subprocess.check_output([sys.executable, __file__, "--peak", str(samples), kind], text=True)
    megabytes, spent = map(float, output.split())
    return megabytes, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead of times")
    parser.add_argument("--some-blocks", type=int, nargs=2, metavar=("N", "K"))
    parser.add_argument("--peak", nargs=2, metavar=("N", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(*peak(int(options.peak[0]), options.peak[1]))
        return
    if options.some_blocks:
        print(some_blocks(*options.some_blocks))
        return
    if not options.memory:
        print("\n".join(tables(measure(), tuple(options.sizes))))
        return
    print("| N | computed | MB beyond the inputs | seconds |\n| --- | --- | --- | --- |")
    for samples in options.sizes:
        for kind in ("one", "plain", "terms") if samples <= PLAIN_FITS else ("one", "terms"):
            print(
                f"| {samples} | {KINDS[kind]} | {{:.0f}} | {{:.1f}} |".format(*measured(samples, kind)),
                flush=True,
            )


if __name__ == "__main__":
    main()
