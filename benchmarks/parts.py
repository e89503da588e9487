"""Measure memory and time of a step whose batch is computed in parts (training.micro_batch).

    python benchmarks/parts.py [--batch 512]

Runs one step of trifeature-quick in a separate process for each part size. Peaks are measured beyond the
memory that the process used before the step.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import torch
from lightning_fabric import Fabric
from machine import Machine
from training_step import QUICK, build

from commlearn.augmentations import ImageAugmentation, plan_batch
from commlearn.batch import Modality
from commlearn.seeds import SeededDraws
from commlearn.training.batches import cached_loss, split
from commlearn.training.descent import Player, losses

SIZES = (0, 256, 64, 16)


def step(batch: int, part: int) -> tuple[float, float]:
    """Return the megabytes and seconds of one step."""
    method = build(QUICK).train()
    fabric = Fabric(accelerator="cpu", devices=1)
    player = fabric.setup(Player(method))
    pixels = torch.randint(0, 256, (batch, QUICK.size, QUICK.size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    view = {name: Modality(pixels) for name in method.modalities}
    augmentations = {name: ImageAugmentation() for name in view}

    def descend(records: int) -> None:
        few = {name: modality.apply(lambda values: values[:records]) for name, modality in view.items()}
        plan = plan_batch(few, {}, augmentations, torch.Generator(), plain=False, augmented=2)
        if part:
            cached_loss(fabric, player, method, split(plan, records, part), int).backward()
        else:
            for descent in losses(fabric, player, method, plan(slice(None)), SeededDraws(0)):
                descent.backward()

    descend(4)  # load libraries first
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    descend(batch)
    spent = time.process_time() - start
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, spent


def tables(machine: Machine, batch: int = 512) -> list[str]:
    lines = [
        f"## A step in parts: trifeature-quick, batch {batch}",
        "",
        "| records per part | peak beyond the start, MB | seconds |",
        "| --- | --- | --- |",
    ]
    for part in SIZES:
        out = subprocess.check_output([sys.executable, __file__, "--one", str(batch), str(part)], text=True)
        memory, spent = out.split()[-2:]
        lines.append(f"| {part or 'all'} | {memory} | {spent} |")
    return ["\n".join(lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--one", type=int, nargs=2, metavar=("BATCH", "PART"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        memory, spent = step(*options.one)
        print(f"{memory:.0f} {spent:.2f}")
        return
    print("\n".join(tables(Machine(1.0, 1.0, 1.0, 1.0), options.batch)))


if __name__ == "__main__":
    main()
