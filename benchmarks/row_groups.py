"""Measure the processor time to read a row group of a wide Parquet file, as streamed training does per step.

    python benchmarks/row_groups.py [--groups 300] [--columns 120]

Compares the library's reader with opening the file again for every group, and with pyarrow's fragments.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from commlearn.tables.formats.parquet_files import ParquetTable

ROWS = 200  # rows of each group
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--groups", type=int, default=300)
    parser.add_argument("--columns", type=int, default=120)
    options = parser.parse_args()
    numbers = np.random.default_rng(0).normal(size=(options.columns, options.groups * ROWS)).astype("float32")
    names = [f"c{place}" for place in range(options.columns)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wide.parquet"
        pq.write_table(pa.table(dict(zip(names, numbers, strict=True))), path, row_group_size=ROWS)
        table = ParquetTable(path)
        fragments = [part for file in ds.dataset(path).get_fragments() for part in file.split_by_row_group()]
        half = names[: options.columns // 2]

        def anew(group: int) -> int:
            with pq.ParquetFile(path) as file:
                return file.read_row_group(group, columns=half, use_threads=False).num_rows

        ways: dict[str, Callable[[int], int]] = {
            "commlearn, checked and as pandas": lambda group: len(table.read(group, half)),
            "a file opened again for every group": anew,
            "pyarrow's fragments": lambda group: (
                fragments[group].to_table(columns=half, use_threads=False).num_rows
            ),
        }
        best = dict.fromkeys(ways, np.inf)
        for _ in range(REPEATS):
            for way, read in ways.items():
                start = time.process_time()
                assert sum(map(read, range(options.groups))) == options.groups * ROWS
                best[way] = min(best[way], time.process_time() - start)
    for way, seconds in best.items():
        print(f"| {way} | {1000 * seconds / options.groups:.2f} ms |")


if __name__ == "__main__":
    main()
