"""Measure reading tables, embedding them, and the probe.

    python benchmarks/tables.py [--rows 100000]
    python benchmarks/tables.py --memory 100000 5000000 [--two]

`--memory` embeds tables of the given numbers of rows into a folder, each in a separate process, and prints
rates and peak memory. With `--two`, tables have a second vector instead of two numbers.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from machine import Machine, Row, measure, operations, seconds, table

import commlearn as cl
from commlearn.probes.linear import read_classes
from commlearn.tables.table import iterate_table
from commlearn.trained.shards import write_shards

WIDTH = 64


GROUP = 65_536


def write_table(path: Path, rows: int, two: bool = False) -> None:
    """Write a table with a vector and two numbers per row, or two vectors, one group of rows at a time."""
    writer = None
    for start in range(0, rows, GROUP):
        count, random = min(GROUP, rows - start), np.random.default_rng(start)
        columns = {"id": np.arange(start, start + count), "vector": vectors(random, count)}
        if two:
            columns["other"] = vectors(random, count)
        else:
            columns |= {name: random.normal(size=count) for name in ("a", "b")}
        part = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, part.schema)
        writer.write_table(part)
    if writer is not None:
        writer.close()


def vectors(random: np.random.Generator, count: int) -> pa.Array:
    flat = pa.array(random.normal(size=count * WIDTH).astype(np.float32))
    return pa.FixedSizeListArray.from_arrays(flat, WIDTH)


def read_alone(path: Path) -> int:
    """Read the file with pyarrow alone, in batches of a group's size; returns the number of rows."""
    return sum(part.num_rows for part in pq.ParquetFile(path).iter_batches(GROUP))


def trained(path: Path) -> cl.Embedder:
    frame = next(pq.ParquetFile(path).iter_batches(256)).to_pandas()
    beside = cl.Vector("other") if "other" in frame else cl.Tabular(["a", "b"])
    schema = cl.Schema({"vector": cl.Vector("vector"), "beside": beside}, id="id")
    return cl.Embedder(schema, epochs=1).fit(frame)


def tables(machine: Machine, rows: int = 50_000) -> list[str]:
    timings = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        write_table(path, rows)
        size = rows * (4 * WIDTH + 24)
        alone = seconds(lambda: read_alone(path))
        ours = seconds(lambda: sum(len(part.frame) for part in iterate_table(path)))
        timings += [
            Row(f"pyarrow alone reads {rows} rows of {WIDTH} + 3 numbers", alone, bytes=size),
            Row("the same table chunk by chunk", ours, bytes=size, note=f"{ours / alone:.1f} times pyarrow"),
        ]
        model = trained(path).trained
        few = next(pq.ParquetFile(path).iter_batches(1024)).to_pandas()
        view = model.records(few).view(slice(None))
        count = operations(lambda: model.method.embed(view)) * rows / len(few)
        spent = seconds(lambda: write_shards(model, path, Path(folder) / "out"), rounds=1, warm=False)
        note = f"{rows / spent:.0f} rows/s, {spent / alone:.1f} times pyarrow"
        timings.append(Row("embed them (comm, width 128) and write", spent, count, size, note))
    return [table("Tables", timings, machine), table("The probe", [probe()], machine)]


def probe(records: int = 4000, classes: int = 10) -> Row:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, 2 * records)
    rows = (random.normal(size=(classes, 256))[labels] + 4 * random.normal(size=(2 * records, 256))).astype(
        "f4"
    )
    halves = rows[:records], labels[:records], rows[records:], labels[records:]
    spent = seconds(lambda: read_classes(*halves), rounds=1, warm=False)
    return Row(f"{records} records of width 256, {classes} classes, C searched", spent)


def peak(rows: int, two: bool) -> str:
    """Embed a table of `rows` rows; returns a table row with its rate, pyarrow's, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        write_table(path, rows, two)
        model = trained(path).trained
        before, start, clock = _largest_memory(), time.process_time(), time.perf_counter()
        write_shards(model, path, Path(folder) / "out")
        spent, clock = time.process_time() - start, time.perf_counter() - clock
        after = _largest_memory()
        alone = seconds(lambda: read_alone(path), rounds=1, warm=False)
    times = f"{alone:.2f} | {spent:.1f} | {clock:.1f} | {rows / spent:.0f}"
    return f"| {rows} | {times} | {spent / alone:.1f} | {before} | {after} |"


def _largest_memory() -> int:
    """Return the peak memory of this process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--memory", type=int, nargs="+", metavar="ROWS")
    parser.add_argument("--two", action="store_true", help="two vectors per row")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(peak(options.peak, options.two))
    elif options.memory:
        heading = "rows | pyarrow alone, s | embedding, s | wall clock, s | rows/s | ratio | peak before, MB"
        print(f"| {heading} | peak, MB |\n" + "| --- " * 8 + "|", flush=True)
        for rows in options.memory:
            two = ["--two"] if options.two else []
            subprocess.run([sys.executable, __file__, "--peak", str(rows), *two], check=True)
    else:
        print("\n\n".join(tables(measure(), options.rows)))


if __name__ == "__main__":
    main()
