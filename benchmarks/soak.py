"""Train and embed in turn for a long time, to check that memory and open files do not grow.

    python benchmarks/soak.py --minutes 30

Each turn trains from scratch and embeds a table with the functions of the command line, in one process. The
first third of the turns is warm-up; growth is measured from the mean of the middle third to that of the last.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from commlearn.config.own_data import read_own
from commlearn.datasets.synthetic_tables import SyntheticTable
from commlearn.trained.artifact import load
from commlearn.trained.stream import write_embeddings
from commlearn.training.train import train

PAGE = 4096


@dataclass(frozen=True)
class Turn:
    """Memory and open files of the process after one training and one embedding."""

    seconds: float  # time since the start
    memory: float  # resident memory in MiB
    files: int  # number of open files


def held(begun: float) -> Turn:
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20
    return Turn(time.monotonic() - begun, resident, len(list(Path("/proc/self/fd").iterdir())))


def soak(minutes: float, folder: Path, log: TextIO) -> list[Turn]:
    """Run turns until the time is over, at least 6; each one is logged when it ends."""
    SyntheticTable(rows=120, size=16).write(folder / "data")
    overrides = {"training.epochs": 2, "training.batch_size": 16, "model.width": 16, "training.threads": 1}
    turns: list[Turn] = []
    begun = time.monotonic()
    while time.monotonic() - begun < 60 * minutes or len(turns) < 6:
        schema = next((folder / "data").glob("*.yaml"))
        experiment, data, _ = read_own(schema, overrides=overrides, method="comm")
        train(experiment, folder / "run", data, overwrite=True)
        write_embeddings(load(folder / "run"), folder / "data" / "table.csv", folder / "z.parquet")
        turns.append(held(begun))
        print(json.dumps(asdict(turns[-1])), file=log, flush=True)
    return turns


def summary(turns: list[Turn]) -> dict[str, float]:
    third = len(turns) // 3
    middle, last = turns[third : 2 * third], turns[2 * third :]
    mean_middle, mean_last = (sum(turn.memory for turn in part) / len(part) for part in (middle, last))
    return {
        "turns": len(turns),
        "minutes": round(turns[-1].seconds / 60, 1),
        "memory_mib": round(mean_last, 1),
        "growth_percent": round(100 * (mean_last / mean_middle - 1), 2),
        "open_files_first": turns[third].files,
        "open_files_last": turns[-1].files,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train and embed in turn, and measure memory and open files."
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", default=os.devnull, help="write every turn as JSON lines")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        with Path(options.out).open("w", encoding="utf-8") as log:
            turns = soak(options.minutes, folder, log)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(summary(turns), indent=1))


if __name__ == "__main__":
    main()
