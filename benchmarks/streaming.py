"""Measure time and memory of batches streamed from Parquet, compared with the table in memory.

    python benchmarks/streaming.py [--rows 100000 2000000] [--batches 400]

Draws batches of 256 records, as a training does, without the step itself. Each table has a separate process.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from tables import write_table

from commlearn.tables.dataset import TableData

SCHEMA = {
    "modalities": {
        "vector": {"kind": "vector", "column": "vector"},
        "numbers": {"kind": "tabular", "columns": ["a", "b"]},
    }
}
BATCH = 256
STREAM = 1 << 18  # most rows in memory


def measured(rows: int, stream: int, batches: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        write_table(path, rows)
        start = time.process_time()
        records = TableData(str(path), SCHEMA, stream=stream).read().train
        opened = time.process_time() - start
        start = time.process_time()
        per_epoch = len(records) // BATCH
        for step in range(batches):
            epoch, place = divmod(step, per_epoch)
            records.view(records.visit(0, epoch, slice(place * BATCH, (place + 1) * BATCH)))
        spent = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    how = f"streamed, {stream} rows at a time" if stream else "in memory"
    return f"| {rows} | {how} | {opened:.1f} | {1000 * spent / batches:.2f} | {peak} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 2_000_000])
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        print(measured(*options.one, options.batches), flush=True)
        return
    print("| rows | table | opening, s | processor ms per batch of 256 | peak memory, MB |")
    print("| --- " * 5 + "|", flush=True)
    for rows in options.rows:
        for stream in (0, STREAM):
            command = [sys.executable, __file__, "--batches", str(options.batches), "--one", str(rows)]
            subprocess.run([*command, str(stream)], check=True)


if __name__ == "__main__":
    main()
