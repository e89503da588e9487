"""Measure how often the verdict is right on tables with known answers, and how often it finds gains in noise.

    python benchmarks/verdicts.py --out results.jsonl [--seeds 5] [--rows 500,5000] [--labels 5%,all]

Each table has two modalities of six numbers, and four targets: `redundant` (four classes, which both
modalities show), `unique` (a bit that only the first shows), `synergy` (whether a bit of the first and a bit
of the second differ) and `noise` (a bit that neither shows). Three quarters of the rows are for training. A
verdict is right if it says exactly this:

- redundant: it can be read; neither modality is needed; combining adds nothing
- unique: it can be read; the first modality is needed and the second is not; combining adds nothing
- synergy: it can be read; both modalities are needed; combining adds something
- noise: it cannot be read; no modality is needed; combining adds nothing; no embedding adds anything
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import commlearn as cl

NEEDED = {"redundant": set(), "unique": {"first"}, "synergy": {"first", "second"}, "noise": set()}
SCHEMA = """\
table: table.parquet
modalities:
  first: {kind: tabular, columns: [a0, a1, a2, a3, a4, a5]}
  second: {kind: tabular, columns: [b0, b1, b2, b3, b4, b5]}
targets: {redundant: class, unique: class, synergy: class, noise: class}
split: split
"""


def write_table(folder: Path, rows: int, seed: int) -> Path:
    """Write the table and its schema; returns the schema's path."""
    draw = np.random.default_rng([seed, rows])
    level = draw.integers(4, size=rows)
    unique, bit, other_bit, noise = draw.integers(2, size=(4, rows))
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])

    def shown(bits: np.ndarray) -> np.ndarray:
        return 2.0 * bits - 1 + draw.normal(0, 0.3, rows)

    columns = {f"{name}{place}": draw.normal(size=rows) for name in "ab" for place in range(6)}
    for name in "ab":
        for place in range(2):
            columns[f"{name}{place}"] = corners[level, place] + draw.normal(0, 0.3, rows)
    columns |= {"a2": shown(unique), "a3": shown(bit), "b3": shown(other_bit)}
    columns |= {"redundant": level, "unique": unique, "synergy": bit ^ other_bit, "noise": noise}
    columns["split"] = np.where(np.arange(rows) % 4 == 3, "test", "train")
    pd.DataFrame(columns).to_parquet(folder / "table.parquet")
    (folder / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
    return folder / "schema.yaml"


def statements(target: dict[str, Any]) -> dict[str, Any]:
    """Return the statements of a verdict about one target."""
    return {
        "readable": target["best"]["claim"] == "more",
        "needed": sorted(
            name for name, one in target["modalities"].items() if one["refit"]["claim"] == "less"
        ),
        "combination": target["combination"]["claim"] == "more",
        "added": [
            budget
            for budget, part in target["budgets"].items()
            if any(one["claim"] == "more" for one in part["differences"].values())
        ],
    }


def is_right(kind: str, claims: dict[str, Any]) -> bool:
    return (
        claims["readable"] == (kind != "noise")
        and set(claims["needed"]) == NEEDED[kind]
        and claims["combination"] == (kind == "synergy")
        and not (kind == "noise" and claims["added"])
    )


def judge(rows: int, seed: int, labels: list[str], out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        schema = write_table(Path(folder), rows, seed)
        began, busy = time.monotonic(), time.process_time()
        comparison = cl.compare(
            schema,
            out=Path(folder) / "out",
            overrides={"training.threads": 1},
            jobs=1,
            tell=lambda line: None,
            budgets=labels,
        )
        seconds = time.monotonic() - began
        for kind, target in comparison.verdict["targets"].items():
            claims = statements(target)
            line = {"rows": rows, "seed": seed, "kind": kind, "right": is_right(kind, claims), **claims}
            line |= {"seconds": round(seconds), "own_seconds": round(time.process_time() - busy)}
            line["points"] = {
                budget: {name: one["points"] for name, one in part["differences"].items()}
                for budget, part in target["budgets"].items()
            }
            line["words"] = target["words"]
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def summary(out: Path) -> str:
    """Return the counts of right verdicts as a Markdown table."""
    lines = pd.DataFrame(map(json.loads, out.read_text(encoding="utf-8").splitlines()))
    rows = ["| kind | rows | verdicts | right | additions claimed |", "| --- | --- | --- | --- | --- |"]
    for (kind, count), some in lines.groupby(["kind", "rows"], sort=False):
        added = int(some["added"].map(bool).sum())
        rows.append(f"| {kind} | {count} | {len(some)} | {int(some['right'].sum())} | {added} |")
    rows.append(f"| all | | {len(lines)} | {int(lines['right'].sum())} | |")
    return "\n".join(rows)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument(
        "--out", type=Path, required=True, help="file of JSON lines; results in it are not repeated"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", default="500,5000")
    parser.add_argument("--labels", default="5%,all")
    options = parser.parse_args()
    before = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    done = {(line["rows"], line["seed"]) for line in map(json.loads, before)}
    for seed in range(options.seeds):
        for rows in map(int, options.rows.split(",")):
            if (rows, seed) not in done:
                judge(rows, seed, options.labels.split(","), options.out)
    print(summary(options.out))


if __name__ == "__main__":
    main()
