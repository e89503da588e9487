"""Reading tables, embedding them, and the probe.

python benchmarks/tables.py [--rows 100000]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import Machine, Row, measure, seconds, table

import commlearn as cl
from commlearn.data.tables import iterate_table
from commlearn.evaluation.probes import linear_probe
from commlearn.evaluation.stream import write_embeddings

WIDTH = 64


def write_table(path: Path, rows: int) -> None:
    random = np.random.default_rng(0)
    flat = pa.array(random.normal(size=rows * WIDTH).astype(np.float32))
    vectors = pa.FixedSizeListArray.from_arrays(flat, WIDTH)
    numbers = {name: random.normal(size=rows) for name in ("a", "b")}
    pq.write_table(
        pa.table({"id": np.arange(rows), "vector": vectors, **numbers}), path, row_group_size=16_384
    )


def trained(path: Path) -> cl.Embedder:
    schema = cl.Schema({"vector": cl.Vector("vector"), "numbers": cl.Tabular(["a", "b"])}, id="id")
    frame = pq.read_table(path).slice(0, 256).to_pandas()
    return cl.Embedder(schema, epochs=1).fit(frame)


def tables(machine: Machine, rows: int = 50_000) -> list[str]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        write_table(path, rows)
        size = rows * (4 * WIDTH + 24)
        alone = seconds(lambda: pq.read_table(path))
        ours = seconds(lambda: sum(len(part.frame) for part in iterate_table(path)))
        found += [
            Row(f"pyarrow alone reads {rows} rows of {WIDTH} + 3 numbers", alone, bytes=size),
            Row("the same table chunk by chunk", ours, bytes=size, note=f"{ours / alone:.1f} times pyarrow"),
        ]
        model = trained(path)
        out = Path(folder) / "out.parquet"
        spent = seconds(lambda: write_embeddings(model.trained, path, out), rounds=1, warm=False)
        found.append(Row(f"embed and write {rows} rows", spent, note=f"{rows / spent:.0f} rows/s"))
    return [table("Tables", found, machine), table("The probe", [probe()], machine)]


def probe(records: int = 4000, classes: int = 10) -> Row:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, 2 * records)
    rows = (random.normal(size=(classes, 256))[labels] + 4 * random.normal(size=(2 * records, 256))).astype(
        "f4"
    )
    halves = rows[:records], labels[:records], rows[records:], labels[records:]
    spent = seconds(lambda: linear_probe(*halves), rounds=1, warm=False)
    return Row(f"{records} records of width 256, {classes} classes, C searched", spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    print("\n\n".join(tables(measure(), parser.parse_args().rows)))


if __name__ == "__main__":
    main()
