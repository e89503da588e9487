"""The machine's peak rates, and tables that compare measurements with them.

All times are processor times of one thread, the shortest of several rounds, so that other work on the machine
changes them little. The floor of a task is the larger of two times: its operations divided by the rate of
large matrix products, and its bytes divided by the rate of a copy. Both rates are measured in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Machine", "Row", "measure", "operations", "seconds", "table"]


@dataclass(frozen=True)
class Machine:
    """Rates of one thread of a machine."""

    products: float  # operations per second in fp32 products of large matrices
    bf16: float  # the same for matrices of 256 x 256 in bf16
    convolutions: float  # operations per second in a 3x3 convolution of 64 channels
    copies: float  # bytes per second, read and written

    def floor(self, row: Row) -> float:
        return max(row.operations / self.products, row.bytes / self.copies)

    def __str__(self) -> str:
        return (
            f"fp32 products {self.products / 1e9:.0f} GFLOP/s, bf16 products {self.bf16 / 1e9:.1f} GFLOP/s, "
            f"fp32 convolutions {self.convolutions / 1e9:.0f} GFLOP/s, copies {self.copies / 1e9:.1f} GB/s"
        )


@dataclass(frozen=True)
class Row:
    """Measurements of one task."""

    name: str
    seconds: float
    operations: float = 0.0  # multiplications and additions
    bytes: float = 0.0  # bytes that must be read and written
    note: str = ""


def seconds(work: Callable[[], object], rounds: int = 3, warm: bool = True) -> float:
    """Return the processor time of the work, the shortest of several rounds."""
    if warm:
        work()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def operations(work: Callable[[], object]) -> float:
    """Count the operations of all matrix products and convolutions of the work."""
    in_place = {torch.ops.aten.addmm_: _added_in_place}
    counter = FlopCounterMode(display=False, custom_mapping=in_place)
    counter.mod_tracker = _OneModule()  # its own one fails if an input of a module needs no gradient
    with counter:
        work()
    return float(counter.get_total_flops())


class _OneModule(AbstractContextManager[None]):
    """Tracker for the counter that assigns all operations to a single module."""

    parents = frozenset({"Global"})

    def __exit__(self, *_: object) -> None:
        return None


def _added_in_place(_: object, left: torch.Size, right: torch.Size, **__: object) -> int:
    """Return the operations of a product that is added in place, which the counter does not support."""
    return 2 * left[0] * left[1] * right[1]


def measure() -> Machine:
    """Measure the current rates of this machine."""
    torch.set_num_threads(1)
    big, small = torch.randn(1536, 1536), torch.randn(256, 256).bfloat16()
    images = torch.randn(16, 64, 56, 56).contiguous(memory_format=torch.channels_last)
    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    block, target = torch.ones(1 << 25), torch.ones(1 << 25)  # 128 MB each, larger than any cache

    def convolve() -> None:
        with torch.no_grad():
            layer(images)

    return Machine(
        products=2 * 1536**3 / seconds(lambda: big @ big),
        bf16=2 * 256**3 / seconds(lambda: small @ small, rounds=1),
        convolutions=operations(convolve) / seconds(convolve),
        copies=2 * block.nbytes / seconds(lambda: target.copy_(block)),
    )


def table(title: str, rows: Iterable[Row], machine: Machine) -> str:
    """Return a Markdown table of measurements with their floors."""
    lines = [
        f"## {title}",
        "",
        "| task | measured, ms | floor, ms | share of the limit | |",
        "| --- " * 5 + "|",
    ]
    for row in rows:
        floor = machine.floor(row)
        share = f"{100 * floor / row.seconds:.0f} %" if floor else ""
        written = f"{1000 * floor:.4g}" if floor else ""
        lines.append(f"| {row.name} | {1000 * row.seconds:.4g} | {written} | {share} | {row.note} |")
    return "\n".join(lines)
