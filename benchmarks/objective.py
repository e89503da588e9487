"""CoMM's objective: time and memory at growing batch sizes, beside the matrix of all pairs.

    python benchmarks/objective.py [--sizes 256 1024 4096 16384 65536] [--memory]

Width 256, two modalities (three terms), value and gradient. `--memory` measures the peak of every size in a
process of its own, beyond the inputs and their gradients.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from machine import Machine, Row, measure, operations, seconds, table
from torch import Tensor

from commlearn.objectives import comm_terms, info_nce

DIM = 256
SIZES = (256, 1024, 2048)
PLAIN_UP_TO = 4096  # larger matrices of all pairs would not fit beside other programs
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
            note = f"all pairs at once {1000 * plain:.4g} ms: {plain / spent:.1f} times ours"
        count = operations(descend(comm_terms, min(samples, 1024))) * (samples / min(samples, 1024)) ** 2
        rows.append(Row(f"three terms and their gradients, N = {samples}", spent, count, note=note))
    return [table("The objective, width 256", rows, machine)]


def peak(samples: int, kind: str) -> float:
    """Megabytes that value and gradient of one computation take beyond inputs and their gradients."""
    first, second = views(samples)
    for rows in (*first.values(), *second.values()):
        rows.grad = torch.zeros_like(rows)
    info_nce(torch.randn(4, DIM, requires_grad=True), torch.randn(4, DIM)).backward()  # libraries are loaded
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    full = ("a", "b")
    if kind == "terms":
        torch.stack(list(comm_terms(first, second, full).values())).mean().backward()
    else:
        loss = {"one": info_nce, "plain": plain_info_nce}[kind]
        loss(first[full], second[full]).backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--memory", action="store_true", help="peaks in place of times")
    parser.add_argument("--peak", nargs=2, metavar=("N", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(f"{peak(int(options.peak[0]), options.peak[1]):.1f}")
        return
    if not options.memory:
        print("\n".join(tables(measure(), tuple(options.sizes))))
        return
    print(f"{'N':>8}{'one contrast':>16}{'all pairs at once':>20}{'three terms':>14}   MB beyond the inputs")
    for samples in options.sizes:
        kinds = ("one", "plain", "terms") if samples <= 2 * PLAIN_UP_TO else ("one", "terms")
        found = {
            kind: float(subprocess.check_output([sys.executable, __file__, "--peak", str(samples), kind]))
            for kind in kinds
        }
        plain = f"{found['plain']:20.0f}" if "plain" in found else f"{'':20}"
        print(f"{samples:8}{found['one']:16.0f}{plain}{found['terms']:14.0f}", flush=True)


if __name__ == "__main__":
    main()
