"""Measure processor time and page size of a report of 5 000 records with pictures, texts and numbers.

    python benchmarks/report.py                 # a table of 5 000 rows with the default split
    python benchmarks/report.py --test 5000     # a table with 5 000 test rows
    python benchmarks/report.py --profile       # also profile the report

The training is one short epoch and is not counted: the cost of a report does not depend on what was learned.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from pathlib import Path

import pandas as pd

import commlearn as cl
from commlearn.cores import use_free_cores
from commlearn.datasets.synthetic_tables import SyntheticTable


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--test", type=int, default=0, help="number of test rows; 0: the table's own split")
    parser.add_argument(
        "--features", default="learned", help="features of Embedder; auto adds published networks"
    )
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    use_free_cores()
    with tempfile.TemporaryDirectory() as folder:
        model = trained(Path(folder), options.rows, options.test, options.features)
        profile = cProfile.Profile(time.process_time)
        begun = time.process_time()
        if options.profile:
            profile.enable()
        written = cl.report(model, out=Path(folder) / "report")
        profile.disable()
        spent = time.process_time() - begun
    print(f"{spent:.1f} s of processor time, {written.bytes / 1e6:.2f} MB")
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)


def trained(folder: Path, rows: int, test: int, features: str) -> cl.Embedder:
    """Train a model of pictures of 64 pixels, texts and four columns, with two classes as targets."""
    path = SyntheticTable(rows=max(rows, test + 500), missing=0.1, size=64).write(folder)
    frame = pd.read_csv(path)
    columns = ["height", "weight", "rate", "site"]
    frame = frame[frame[["image", "text", *columns]].notna().any(axis=1)]  # others have only unused columns
    if test:
        frame["split"] = ["test" if row < test else "train" for row in range(len(frame))]
    frame.to_csv(path, index=False)
    schema = cl.Schema(
        {
            "image": cl.Image("image"),
            "text": cl.Text("text"),
            "table": cl.Tabular(columns),
        },
        targets={"shared": "class", "synergy": "class"},
        id="id",
        split="split",
    )
    return cl.Embedder(schema, epochs=1, features=features).fit(path)


if __name__ == "__main__":
    main()
