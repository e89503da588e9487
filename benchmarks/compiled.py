"""Measure what torch.compile saves: a CoMM step of trifeature-quick, compiled and not compiled.

    python benchmarks/compiled.py [--rounds 3]

Encoders, fusion and head are compiled, which needs a C++ compiler. The first compiled step is measured in
wall-clock time, the other steps in processor time of one thread.
"""

from __future__ import annotations

import argparse
import time

import torch
from machine import seconds
from training_step import QUICK, augment, build, descend


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    batch = augment(QUICK)()
    plain, compiled = build(QUICK).train(), build(QUICK).train()
    for encoder in compiled.encoders.values():
        encoder.compile()
    compiled.fusion.compile()
    compiled.head.compile()
    methods = (plain, compiled)
    works = [descend(method, lambda method=method: next(method.steps(batch)).loss) for method in methods]
    works[0]()
    start = time.perf_counter()
    works[1]()
    first = time.perf_counter() - start
    times = [seconds(work, options.rounds) for work in works]
    print(
        f"trifeature-quick, batch {QUICK.batch}: {1000 * times[0]:.0f} ms uncompiled, "
        f"{1000 * times[1]:.0f} ms compiled ({times[0] / times[1]:.2f} times as fast); "
        f"the first compiled step took {first:.0f} s"
    )


if __name__ == "__main__":
    main()
