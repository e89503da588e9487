"""Count the operations and bytes of one record, stage by stage: the constants of docs/scaling.md.

    python benchmarks/cost.py

Operations are counted while small batches run. No stage is timed, so the counts are the same on every
machine. The cost of the objective grows with the batch, so it is given per negative.
"""

from __future__ import annotations

from typing import NamedTuple

from machine import Machine, measure, operations
from objective import DIM, comm_terms, descend
from training_step import PUBLISHED, QUICK, Setting, augment, build

from commlearn.batch import merge

BATCH = 8


class Cost(NamedTuple):
    stage: str
    operations: float
    bytes: float  # bytes read or sent for one record


def costs(setting: Setting) -> list[Cost]:
    setting = setting._replace(batch=BATCH)
    method, make = build(setting), augment(setting)
    batch = make()
    view = merge(batch.augmented)
    tokens, rows = method.encode(view), method.represent(batch)
    encode = operations(lambda: method.encode(view)) / BATCH
    fuse = operations(lambda: method.fusion(tokens, method.subsets)) / BATCH
    project = operations(lambda: method.project(rows)) / BATCH
    step = operations(lambda: next(method.steps(batch)).loss.backward()) / BATCH
    samples = 2048  # enough blocks that those on the diagonal matter little
    contrast = operations(descend(comm_terms, samples)) / samples**2
    gathered = sum(part[0].nbytes for part in rows.vectors.values())
    images = 2 * setting.size**2 * 3
    return [
        Cost("read two images as bytes", 0, images),
        Cost("augment them twice (only the products of colours)", operations(make) / BATCH, 2 * 5 * images),
        Cost("encoders, forward", encode, 0),
        Cost("fusion of all subsets, forward", fuse, 0),
        Cost("heads, forward", project, 0),
        Cost("whole step, forward and backward", step, 0),
        Cost(f"objective with width {DIM}, for each record of the whole batch", contrast, 0),
        Cost("vectors that ranks exchange", 0, gathered),
    ]


def parameters(setting: Setting) -> int:
    return sum(parameter.numel() for parameter in build(setting).parameters())


def tables(machine: Machine) -> list[str]:
    made = []
    for setting in (QUICK, PUBLISHED):
        lines = [
            f"## The cost of a record: {setting.name}, {setting.encoder}, width {setting.width}",
            "",
            "| stage | operations | bytes | ms at the rates of this machine |",
            "| --- | --- | --- | --- |",
        ]
        for cost in costs(setting):
            floor = 1000 * max(cost.operations / machine.products, cost.bytes / machine.copies)
            lines.append(f"| {cost.stage} | {cost.operations:.4g} | {cost.bytes:.4g} | {floor:.3g} |")
        made.append("\n".join([*lines, "", f"{parameters(setting):,} parameters."]))
    return made


if __name__ == "__main__":
    print("\n\n".join(tables(measure())))
